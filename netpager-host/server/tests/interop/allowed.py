"""What a well-behaved client does: every command and flag, with libnbd's own checks on."""

import errno
import os

import nbd
from harness import connect, expect, main, uri


def check_every_command():
    h = connect()
    data = os.urandom(65536)
    h.pwrite(data, 4096)
    assert h.pread(65536, 4096) == data
    h.pwrite(data[:4096], 4096, nbd.CMD_FLAG_FUA)
    h.flush()
    h.zero(4096, 8192)
    assert h.pread(4096, 8192) == bytearray(4096)
    h.zero(4096, 12288, nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE)
    h.trim(4096, 16384, nbd.CMD_FLAG_FUA)
    h.cache(65536, 0)
    assert h.pread(4096, 4096) == data[:4096]
    h.shutdown()


def check_one_byte_anywhere():
    h = connect()
    h.zero(8192, 0)
    h.pwrite(b"abc", 4095)
    assert h.pread(5, 4094) == b"\0abc\0"
    h.zero(1, 4096)
    assert h.pread(5, 4094) == b"\0a\0c\0"


def check_fast_zero_is_fast_or_refused():
    h = connect()
    assert h.can_fast_zero()
    try:
        h.zero(1 << 20, 0, nbd.CMD_FLAG_FAST_ZERO)
    except nbd.Error as error:
        assert error.errnum in (errno.ENOTSUP, errno.EOPNOTSUPP), error


def check_a_read_comes_in_chunks_that_cover_it_once():
    h = connect()
    h.zero(1 << 20, 0)
    h.pwrite(b"\x55" * 4096, 8192)
    pieces = []

    def chunk(data, offset, status, error):
        pieces.append((offset, len(data), status))

    h.pread_structured(1 << 20, 0, chunk)
    pieces.sort()
    at = 0
    for offset, length, status in pieces:
        assert offset == at and length > 0, pieces
        at += length
        if status == nbd.READ_HOLE:
            assert not offset <= 8192 < offset + length, pieces
    assert at == 1 << 20
    assert any(status == nbd.READ_HOLE for _, _, status in pieces), "zeroes need not be sent"
    pieces.clear()
    assert h.can_df()
    h.pread_structured(65536, 0, chunk, nbd.CMD_FLAG_DF)
    assert len(pieces) == 1, pieces


def check_block_status_covers_what_was_asked():
    h = connect("memory")
    h.zero(64 << 20, 0)
    h.pwrite(b"x" * 4096, 1 << 20)
    seen = []

    def extent(context, offset, entries, error):
        assert context == "base:allocation"
        seen.append((offset, list(zip(entries[::2], entries[1::2]))))

    h.block_status(2 << 20, 0, extent)
    (offset, extents), = seen
    assert offset == 0 and sum(length for length, _ in extents) <= 2 << 20
    assert extents[:2] == [(1 << 20, 3), (4096, 0)], extents
    seen.clear()
    h.block_status(2 << 20, 512 << 10, extent, nbd.CMD_FLAG_REQ_ONE)
    (offset, extents), = seen
    assert offset == 512 << 10 and extents == [(512 << 10, 3)], extents


def check_what_one_connection_wrote_another_reads():
    writer, reader = connect(), connect()
    assert writer.can_multi_conn()
    for turn in range(50):
        page = os.urandom(4096)
        writer.pwrite(page, turn * 4096)
        assert reader.pread(4096, turn * 4096) == page
    writer.zero(50 * 4096, 0)
    writer.flush()
    assert reader.pread(50 * 4096, 0) == bytearray(50 * 4096)


def check_hundreds_of_requests_in_flight():
    h = connect()
    pages = [os.urandom(4096) for _ in range(256)]
    finished = []
    for number, page in enumerate(pages):
        buffer = nbd.Buffer.from_bytearray(bytearray(page))
        h.aio_pwrite(buffer, number * 4096, lambda error: finished.append(error.value) or 1)
    while len(finished) < 256:
        h.poll(1000)
    assert not any(finished), finished
    buffers, finished = [nbd.Buffer(4096) for _ in pages], []
    for number, buffer in enumerate(buffers):
        h.aio_pread(buffer, number * 4096, lambda error: finished.append(error.value) or 1)
    while len(finished) < 256:
        h.poll(1000)
    assert [buffer.to_bytearray() for buffer in buffers] == pages and not any(finished)


def check_old_ways_to_connect():
    data = os.urandom(4096)
    connect().pwrite(data, 0)
    for settings in ({"request_structured_replies": False, "contexts": ()}, {"handshake_flags": 0}, {"handshake_flags": nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE}):
        h = connect(**settings)
        assert h.get_size() == 64 << 20
        assert h.pread(4096, 0) == data
        h.zero(1, 100000)
        h.shutdown()


def check_options_in_any_order():
    h = nbd.NBD()
    h.set_opt_mode(True)
    h.set_export_name("rom")
    h.add_meta_context("base:allocation")
    h.connect_uri(uri("rom"))
    names = []
    assert h.opt_list(lambda name, description: names.append(name)) == 3
    assert names == ["memory", "rom", "small"], names
    contexts = []
    h.opt_list_meta_context(lambda name: contexts.append(name))
    assert "base:allocation" in contexts, contexts
    h.opt_info()
    assert h.is_read_only() and h.get_size() == 1 << 20
    h.set_export_name("nothing")
    expect((errno.ENOENT, errno.EINVAL), h.opt_info)
    h.set_export_name("memory")
    h.opt_info()
    assert not h.is_read_only()
    h.opt_go()
    assert h.get_size() == 64 << 20 and h.can_meta_context("base:allocation")
    h.pread(512, 0)
    h = nbd.NBD()
    h.set_opt_mode(True)
    h.connect_uri(uri())
    h.opt_abort()
    assert h.aio_is_closed()


def check_block_sizes_are_told():
    h = connect()
    assert h.get_block_size(nbd.SIZE_MINIMUM) == 1
    assert h.get_block_size(nbd.SIZE_PREFERRED) == 4096
    assert h.get_block_size(nbd.SIZE_MAXIMUM) == 32 << 20


def check_the_largest_request():
    h = connect()
    data = os.urandom(1 << 20) * 32
    h.pwrite(data, 0)
    assert h.pread(32 << 20, 0) == data
    h.zero(64 << 20, 0)


def check_an_unknown_context_is_ignored():
    h = connect(contexts=("base:allocation", "x-unknown:thing"))
    assert h.can_meta_context("base:allocation") and not h.can_meta_context("x-unknown:thing")


main(dict(globals()))
