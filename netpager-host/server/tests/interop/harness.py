"""What the scripts beside this one share: connecting, expecting errors, running all checks and counting them."""

import errno
import re
import sys
import traceback

try:
    import nbd
except ImportError:
    sys.exit("Python's module nbd is missing: install the Debian package python3-libnbd (./mach test does)")

URI = sys.argv[1]


def uri(export="memory"):
    return re.sub(r"/[^/]*$", "/" + export, URI)


def connect(export="memory", strict=None, contexts=("base:allocation",), **settings):
    """A connected handle. Settings are names of libnbd's set_ functions and their arguments."""
    handle = nbd.NBD()
    if strict is not None:
        handle.set_strict_mode(strict)
    for context in contexts:
        handle.add_meta_context(context)
    for name, value in settings.items():
        getattr(handle, "set_" + name)(value)
    handle.connect_uri(uri(export))
    return handle


def expect(codes, function, *arguments, **named):
    """The call must fail with one of these errors."""
    codes = codes if isinstance(codes, tuple) else (codes,)
    try:
        function(*arguments, **named)
    except nbd.Error as error:
        if error.errnum in codes:
            return str(error)
        names = " or ".join(errno.errorcode[code] for code in codes)
        raise AssertionError(f"expected {names}, got {error}") from None
    raise AssertionError("it was accepted")


def alive(handle):
    """The connection still works."""
    assert len(handle.pread(512, 0)) == 512


def main(checks):
    failed = 0
    for name, check in checks.items():
        if not name.startswith("check_"):
            continue
        try:
            check()
            print("ok", name)
        except Exception:  # every kind of failure is one failed check
            failed += 1
            print("FAILED", name)
            traceback.print_exc(file=sys.stdout)
    print(f"{failed} failed" if failed else "all ok")
    sys.exit(1 if failed else 0)
