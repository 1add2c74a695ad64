"""A vmswitchd on a pretended Mac whose vmnet a test bends while it runs: the panel of tests/fake-sdk/fake_panel.h.

What lies where in it is read from the declarations of fake_vmnet.h, so that the two cannot part.
"""
import ctypes
import mmap
import re

from switchd import CACHE, ROOT

HAS_DOUBLE = "VMNET_DOUBLE:BOOL=ON" in CACHE

HEADER = (ROOT / "tests/fake-sdk/fake_vmnet.h").read_text()
TYPES = {"bool": ctypes.c_bool, "int": ctypes.c_int}  # anything else is as wide as an unsigned


def without_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def declared(name):
    """struct NAME { ... } as a structure of ctypes."""
    body = re.search(rf"^struct {name} {{\n(.*?)^}};", HEADER, re.M | re.S).group(1)
    fields = []
    for kind, names in re.findall(r"((?:enum )?\w+)\s+([\w, ]+);", without_comments(body)):
        fields += [(one.strip(), TYPES.get(kind, ctypes.c_uint32)) for one in names.split(",")]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


class Layout(ctypes.Structure):
    _fields_ = [("script", declared("fake_script")), ("counts", declared("fake_counts"))]


def constants():
    """FAKE_START_FAILS and so on."""
    found = {}
    for body in re.findall(r"^enum fake_\w+ {(.*?)}", HEADER, re.M | re.S):
        found.update({name: number for number, name in enumerate(re.findall(r"\bFAKE_\w+", without_comments(body)))})
    return found


FAKE = constants()


class Panel:
    """script.FIELD is set, counts.FIELD is read."""
    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(ctypes.sizeof(Layout)))
        path.chmod(0o666)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), ctypes.sizeof(Layout))
        self.layout = Layout.from_buffer(self.memory)
        self.script, self.counts = self.layout.script, self.layout.counts

    def set(self, **fields):
        for name, value in fields.items():
            assert hasattr(self.script, name), name
            setattr(self.script, name, FAKE[value] if isinstance(value, str) else value)

    def environment(self):
        return {"FAKE_VMNET_PANEL": str(self.path)}
