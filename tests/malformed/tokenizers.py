"""Tokenizer sections: each word at each boundary, each byte cut off, each rule of BPE1 broken. Any
defect is tokenizer_malformed."""
import struct

import boundaries
from binary import Writer, model
from second import mutate, spec
from mutate import get, put

VOCABULARY = 266
SPECIAL = (256, 257, 258, 259)
TOKENS = ((260, b'th'), (261, b'the'), (262, b'spare'), (90, b'zz'))
MERGES = ((116, 104, 260, 3), (260, 101, 261, 7))
BROKEN = {'tokenizer_malformed'}


def bpe(tokens=TOKENS, merges=MERGES, special=SPECIAL, vocabulary=VOCABULARY):
    section = struct.pack('<4s8I', b'BPE1', 1, vocabulary, *special, len(tokens), len(merges))
    for token, text in tokens:
        section += struct.pack('<2I', token, len(text)) + text
    return section + b''.join(struct.pack('<4I', *merge) for merge in merges)


def within(section, vocabulary):
    """A small model with this section."""
    return spec.write_model(model(section, hidden_size=1, head_dim=1, ffn_size=1,
                                  vocab_size=vocabulary))


def words():
    """(name, offset, which other values are right) of each word of `bpe()`."""
    yield 'magic', 0, ()
    yield 'version', 4, ()
    yield 'vocab_size', 8, ()
    free = set(range(VOCABULARY)) - set(SPECIAL)
    for i, name in enumerate(('BOS', 'EOS', 'PAD', 'UNK')):
        yield name, 12 + 4 * i, free
    yield 'token_count', 28, ()
    yield 'merge_count', 32, ()
    at = 36
    taken = {token for token, _ in TOKENS}
    parts = {116, 104, 101}     # bytes that the merges stand on
    for token, text in TOKENS:
        used = any(token in merge[:3] for merge in MERGES)
        yield 'id of token %d' % token, at, () if used else set(range(VOCABULARY)) - taken - parts
        yield 'length of token %d' % token, at + 4, ()
        at += 8 + len(text)
    ranks = [merge[3] for merge in MERGES]
    for i, merge in enumerate(MERGES):
        for k, name in enumerate(('left', 'right', 'output')):
            yield '%s of merge %d' % (name, i), at + 16 * i + 4 * k, ()
        others = set(ranks) - {merge[3]}
        yield 'rank of merge %d' % i, at + 16 * i + 12, lambda v, others=others: v not in others


def word_cases(writer, label, section, vocabulary, layout, near):
    data = within(section, vocabulary)
    start = get(data, 64, 8)
    for name, at, right in layout:
        own = get(section, at, 4)
        others = [get(section, other, 4) for _, other, _ in layout]
        for value in boundaries.numbers(4, own, len(section), *near, *others):
            good = right(value) if callable(right) else value in right
            if value != own:
                writer.add('%s/%s = %#x' % (label, name, value),
                           '%s keeps the rules of the section, else tokenizer_malformed' % name,
                           mutate.reseal(put(data, start + at, 4, value)),
                           set() if good else BROKEN)
    for length in range(1, len(section)):
        writer.add('%s/the first %d bytes' % (label, length),
                   'a section is whole, else tokenizer_malformed',
                   within(section[:length], vocabulary), BROKEN)
    for more in (b'\0', b'\0' * 16, section):
        writer.add('%s/%d bytes more' % (label, len(more)),
                   'no byte follows the end, else tokenizer_malformed',
                   within(section + more, vocabulary), BROKEN)


def rules():
    """(what, section, whether it keeps every rule) of sections that one word alone does not give."""
    spare = TOKENS[2:]
    long_text = bytes(range(256)) * 4
    yield 'no merges', bpe(merges=()), True
    yield 'no tokens', bpe((), ()), True
    yield 'merges in another order', bpe(merges=MERGES[::-1]), True
    yield 'tokens in another order', bpe(TOKENS[::-1]), True
    yield 'a token of 1,024 bytes', bpe(TOKENS + ((263, long_text),)), True
    yield 'two tokens of the same bytes', bpe(TOKENS + ((263, b'th'),)), True
    yield 'a special id with a record', bpe(TOKENS + ((256, b'<s>'),)), True
    yield 'a rank of all ones', bpe(merges=(MERGES[0][:3] + (2 ** 32 - 1,), MERGES[1])), True
    yield 'special ids among the bytes', bpe(special=(0, 1, 2, 3)), True
    yield 'a token twice', bpe(TOKENS + (TOKENS[2],)), False
    yield 'a token without bytes', bpe(TOKENS + ((263, b''),)), False
    yield 'an id as large as the vocabulary', bpe(TOKENS + ((VOCABULARY, b'q'),)), False
    yield 'the same special id twice', bpe(special=(256, 256, 258, 259)), False
    yield 'a special id as large as the vocabulary', bpe(special=(256, 257, 258, VOCABULARY)), False
    yield 'a merge twice', bpe(merges=MERGES + (MERGES[0][:3] + (9,),)), False
    yield 'a rank twice', bpe(merges=(MERGES[0], MERGES[1][:3] + (3,))), False
    yield 'an output without a record', bpe(spare, ((116, 104, 260, 0),)), False
    yield 'an output of other bytes', bpe(merges=((104, 116, 260, 0),)), False
    yield 'an output that is a byte', bpe(spare, ((116, 104, 120, 0),)), False
    yield 'a left part without bytes', bpe(TOKENS, ((264, 104, 260, 0),)), False
    yield 'a right part without bytes', bpe(TOKENS, ((116, 265, 260, 0),)), False
    yield 'a part that a record redefined', bpe(((116, b'T'), (260, b'th')),
                                                ((116, 104, 260, 0),)), False
    yield 'a part past the vocabulary', bpe(TOKENS, ((2 ** 32 - 1, 104, 260, 0),)), False


def cases(corpus):
    corpus.group('tokenizer', 'A model whose tokenizer section has one word or length changed.',
                 ['validate', '{input}'])
    writer = Writer(corpus, 'tokenizer')
    fixed = [(name, 4 * i, ()) for i, name in enumerate(
        ('magic', 'version', 'vocab_size', 'BOS', 'EOS', 'PAD', 'UNK'))]
    writer.add('BTOK/as it is', 'valid', within(spec.BTOK, 260))
    word_cases(writer, 'BTOK', spec.BTOK, 260, fixed, ())
    writer.add('BPE1/as it is', 'valid', within(bpe(), VOCABULARY))
    word_cases(writer, 'BPE1', bpe(), VOCABULARY, list(words()), (255, VOCABULARY))
    for what, section, good in rules():
        writer.add('BPE1/%s' % what, 'the rules of BPE1, else tokenizer_malformed',
                   within(section, VOCABULARY), set() if good else BROKEN)
