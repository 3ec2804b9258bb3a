"""The settings of `serve` and `gateway`: one definition, read from flags, environment variables and a file.

The fields of dataclasses are the definition. Each of them becomes an option, an environment variable and a
key of the file, all three under the same name; click decides which of them counts.
"""

from mistralwire.cli.settings._command import settings_command
from mistralwire.cli.settings._definition import SettingsDefinition, SettingsError, SettingsFile, flag_of

__all__ = ["SettingsDefinition", "SettingsError", "SettingsFile", "flag_of", "settings_command"]
