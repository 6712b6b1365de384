"""What no client should do, sent with libnbd's checks off: the error is the specification's, and the connection lives."""

import errno

import nbd
from harness import alive, connect, expect, main

SIZE = 64 << 20


def check_past_the_end():
    h = connect(strict=0)
    expect(errno.EINVAL, h.pread, 4096, SIZE)
    expect(errno.EINVAL, h.pread, 4096, SIZE - 1)
    expect(errno.ENOSPC, h.pwrite, b"x" * 4096, SIZE - 1)
    expect((errno.EINVAL, errno.ENOSPC), h.zero, 4096, SIZE - 1)
    expect(errno.EINVAL, h.trim, 4096, SIZE - 1)
    expect(errno.EINVAL, h.cache, 4096, SIZE - 1)
    expect(errno.EINVAL, h.block_status, 4096, SIZE, lambda *_: 0)
    alive(h)


def check_offsets_that_wrap():
    h = connect(strict=0)
    for offset in ((1 << 63) - 1, (1 << 64) - 1, (1 << 64) - 4096):
        expect(errno.EINVAL, h.pread, 4096, offset)
        expect((errno.EINVAL, errno.ENOSPC), h.pwrite, b"x" * 4096, offset)
        expect((errno.EINVAL, errno.ENOSPC), h.zero, 4096, offset)
        expect(errno.EINVAL, h.trim, 4096, offset)
    alive(h)


def check_nothing_asked():
    h = connect(strict=0)
    for ask in (lambda: h.pwrite(b"", 0), lambda: h.zero(0, 0), lambda: h.trim(0, 0), lambda: h.cache(0, 0)):
        try:
            ask()
        except nbd.Error as error:
            assert error.errnum == errno.EINVAL, error
    alive(h)


def check_flags_that_do_not_belong():
    h = connect(strict=0)
    expect(errno.EINVAL, h.pread, 512, 0, nbd.CMD_FLAG_NO_HOLE)
    expect(errno.EINVAL, h.pwrite, b"x" * 512, 0, nbd.CMD_FLAG_DF)
    expect(errno.EINVAL, h.pwrite, b"x" * 512, 0, 1 << 12)
    expect(errno.EINVAL, h.trim, 512, 0, nbd.CMD_FLAG_FAST_ZERO)
    expect(errno.EINVAL, h.flush, nbd.CMD_FLAG_REQ_ONE)
    expect(errno.EINVAL, h.cache, 512, 0, nbd.CMD_FLAG_DF)
    alive(h)


def check_a_refused_write_is_taken_off_the_wire():
    h = connect("rom", strict=0)
    for length in (1, 4096, 1 << 20):
        expect(errno.EPERM, h.pwrite, b"w" * length, 0)
        alive(h)
    expect(errno.EPERM, h.zero, 4096, 0)
    expect(errno.EPERM, h.trim, 4096, 0)
    assert h.pread(4096, 0) == bytearray(4096)


def check_too_large_a_write_is_refused_or_ends_the_connection():
    h = connect(strict=0)
    try:
        h.pwrite(b"x" * ((32 << 20) + 1), 0)
        raise AssertionError("it was accepted")
    except nbd.Error:
        pass
    if not h.aio_is_dead() and not h.aio_is_closed():
        alive(h)
    alive(connect())


def check_too_large_a_read_is_refused():
    h = connect(strict=0)
    expect((errno.EINVAL, errno.EOVERFLOW), h.pread, (32 << 20) + 1, 0)
    alive(h)


def check_block_status_without_a_context():
    h = connect(strict=0, contexts=())
    expect((errno.EINVAL, errno.ENOTSUP), h.block_status, 4096, 0, lambda *_: 0)
    alive(h)


def check_a_quota_is_no_space():
    h = connect("small")
    words = expect(errno.ENOSPC, h.pwrite, b"x" * (128 << 10), 0)
    assert words
    h.zero(128 << 10, 0)
    h.pwrite(b"x" * 4096, 0)
    expect(errno.ENOSPC, h.zero, 1 << 20, 0, nbd.CMD_FLAG_NO_HOLE)


main(dict(globals()))
