"""Undo files, written a second time from docs/formats.md, section 6, alone."""
import hashlib
import struct

HEADER = struct.Struct('<4sIII QQ 32s 32s QQQ 32s Q')
LONGEST_RUN = 65536


def number(value):
    """A number of a run: seven bits in a byte, the lowest first."""
    groups = []
    while value >= 128:
        groups.append(value % 128 + 128)
        value //= 128
    return bytes(groups + [value])


def read_number(data, at):
    value = shift = 0
    while True:
        value += data[at] % 128 << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def runs(base, output):
    """(offset, length) of each run."""
    changed = [i for i in range(min(len(base), len(output))) if base[i] != output[i]]
    changed += range(len(output), len(base))
    stretches = []
    for i in changed:
        if stretches and i - stretches[-1][1] <= 2 + 1:
            stretches[-1][1] = i
        else:
            stretches.append([i, i])
    for first, last in stretches:
        for offset in range(first, last + 1, LONGEST_RUN):
            yield offset, min(LONGEST_RUN, last + 1 - offset)


def header(base, output, run_list, length, checksum=0):
    return HEADER.pack(b'UND1', 1, 160, 0, len(base), len(output), hashlib.sha256(base).digest(),
                       hashlib.sha256(output).digest(), len(run_list),
                       sum(length for _, length in run_list), length, bytes(32), checksum)


def make(base, output, checksum=lambda data: 0):
    """The undo file of two files; `checksum` computes XXH3-64."""
    run_list = list(runs(base, output))
    body, end = bytearray(), 0
    for offset, length in run_list:
        body += number(offset - end) + number(length) + base[offset:offset + length]
        end = offset + length
    total = HEADER.size + len(body)
    sealed = checksum(header(base, output, run_list, total) + bytes(body))
    return header(base, output, run_list, total, sealed) + bytes(body)


def restore(undo, output):
    """What the undo file makes of the output."""
    base_length = struct.unpack_from('<Q', undo, 16)[0]
    run_count, restored = struct.unpack_from('<QQ', undo, 96)
    base = bytearray(output[:base_length]) + bytearray(max(0, base_length - len(output)))
    at, position = HEADER.size, 0
    for _ in range(run_count):
        gap, at = read_number(undo, at)
        length, at = read_number(undo, at)
        position += gap
        base[position:position + length] = undo[at:at + length]
        at += length
        position += length
        restored -= length
    assert at == len(undo) and restored == 0, 'the runs do not fill the file'
    assert hashlib.sha256(base).digest() == undo[32:64], 'not the base'
    assert hashlib.sha256(output).digest() == undo[64:96], 'not the output'
    return bytes(base)
