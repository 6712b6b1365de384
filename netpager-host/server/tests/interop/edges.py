"""The largest export of the RAM store, and one whose size is no multiple of anything."""

import errno
import os

import nbd
from harness import connect, expect, main

HUGE = 64 << 40


def check_both_ends_of_the_largest_export():
    h = connect(strict=0)
    assert h.get_size() == HUGE
    page = os.urandom(4096)
    for offset in (0, 1 << 32, (1 << 32) - 1, 1 << 45, HUGE - 4096):
        h.pwrite(page, offset)
        assert h.pread(4096, offset) == page
        h.zero(4096, offset)
        assert h.pread(4096, offset) == bytearray(4096)
    expect(errno.ENOSPC, h.pwrite, page, HUGE - 4095)
    expect(errno.EINVAL, h.pread, 4096, HUGE - 4095)


def check_a_request_as_long_as_the_protocol_has_numbers_for():
    h = connect(strict=0)
    h.pwrite(b"x", 1 << 33)
    for length in ((1 << 32) - 1, (1 << 32) - 4096, 1 << 31):
        h.zero(length, 1 << 33)
        h.trim(length, 1 << 33)
        h.cache(length, 1 << 33)
    assert h.pread(1, 1 << 33) == b"\0"
    seen = []
    h.block_status((1 << 32) - 1, 1 << 33, lambda context, offset, entries, error: seen.append((offset, entries)) or 0)
    (offset, entries), = seen
    assert offset == 1 << 33 and 0 < sum(entries[::2])
    # The protocol: a reply may describe more than was asked only in its last extent.
    assert sum(entries[:-2:2]) < (1 << 32) - 1


def check_the_last_bytes_of_an_odd_export():
    h = connect("odd", strict=0)
    assert h.get_size() == 12345
    data = os.urandom(12345)
    h.pwrite(data, 0)
    assert h.pread(12345, 0) == data and h.pread(1, 12344) == data[-1:]
    expect(errno.EINVAL, h.pread, 2, 12344)
    expect(errno.ENOSPC, h.pwrite, b"xx", 12344)
    h.zero(345, 12000)
    assert h.pread(345, 12000) == bytearray(345)
    seen = []
    h.block_status(12345, 0, lambda context, offset, entries, error: seen.append(entries) or 0)
    assert sum(seen[0][::2]) <= 12345 + 4095, seen


main(dict(globals()))
