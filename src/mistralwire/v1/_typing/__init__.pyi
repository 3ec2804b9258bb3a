"""Types that the stubs of the contract share. For type checkers alone: at run time there is no such module.

`from mistralwire.v1._typing.containers import RepeatedMessage`, below `if TYPE_CHECKING`, names the type of a
repeated field.
"""
