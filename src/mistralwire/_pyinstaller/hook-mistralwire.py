"""Files and modules that imports don't show: commands, upstreams, data, metadata, the native engine."""

from PyInstaller.utils.hooks import can_import_module, collect_data_files, collect_submodules, copy_metadata

hiddenimports = [
    *collect_submodules("mistralwire.cli"),
    *collect_submodules("mistralwire.upstream"),
    *collect_submodules("mistralwire.gateway", on_error="ignore"),
    "mistralwire.v1._docs",
    *(name for name in ("mistralwire_native",) if can_import_module(name)),
]
datas = [*collect_data_files("mistralwire"), *copy_metadata("mistralwire")]
