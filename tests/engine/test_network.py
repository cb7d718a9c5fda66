"""The engine computes what the network of docs/formats.md computes, by tests/produce/engine.py.

The models are made here, with random weights: shared heads of keys and values, tied and untied
output, byte pairs, every storage, sizes that fill no register. The draws of the sampler are repeated
from its description in examples/engine/README.md.
"""
import os
import struct
import sys

import support

sys.path += [os.path.join(support.ROOT, 'tests', name) for name in ('differential', 'produce')]
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')  # more of them wait for each other
try:
    import numpy as np

    import engine as reference
    import spec
except ImportError:
    print('NumPy is not installed for %s' % sys.executable)
    sys.exit(77)
if not spec.have_xxh3():
    print('there is no xxHash for %s' % sys.executable)
    sys.exit(77)

BOS, EOS, UNK = 256, 257, 259
SHAPE = {'model_type': 1, 'flags': 0, 'special_token_count': 4, 'vocab_size': 260,
         'hidden_size': 48, 'layer_count': 2, 'head_count': 6, 'kv_head_count': 2, 'head_dim': 8,
         'ffn_size': 40, 'max_context': 24, 'rope_theta': 500.0, 'rms_norm_epsilon': 1e-5}
TEXT = 'the thin hen then hid the other thing in the hut, thus the north hath nothing'

# Byte pairs that build on each other; their order is that of their ranks.
MERGES = (b't', b'h'), (b'th', b'e'), (b'i', b'n'), (b'the', b' '), (b'n', b'o'), (b'h', b'e')


class Tokens:
    """How docs/formats.md says that text becomes tokens, and back."""

    def __init__(self, merges):
        self.bytes = {i: bytes([i]) for i in range(256)}
        self.merges = []  # (left, right, output), the lowest rank first
        for output, (left, right) in enumerate(merges, 260):
            ids = {spelling: i for i, spelling in self.bytes.items()}
            self.bytes[output] = left + right
            self.merges.append((ids[left], ids[right], output))
        if merges:  # an x that is spelled as y, so that no token stands for x
            self.bytes[ord('x')] = b'y'

    def section(self):
        if not self.merges:
            return spec.BTOK
        records = [(i, text) for i, text in self.bytes.items() if i >= 256 or text != bytes([i])]
        data = struct.pack('<4s8I', b'BPE1', 1, 260 + len(self.merges), BOS, EOS, 258, UNK,
                           len(records), len(self.merges))
        for i, text in records:
            data += struct.pack('<2I', i, len(text)) + text
        for rank, merge in enumerate(self.merges):
            data += struct.pack('<4I', *merge, 10 * rank)
        return data

    def encode(self, text):
        ids = [byte if self.bytes[byte] == bytes([byte]) else UNK for byte in text]
        for merge in self.merges:  # each only makes tokens that merges after it take up
            left, right, output = merge
            i = 0
            while i + 1 < len(ids):
                if (ids[i], ids[i + 1]) == (left, right):
                    ids[i:i + 2] = [output]
                i += 1
        return ids

    def decode(self, ids):
        return b''.join(self.bytes.get(i, b'') for i in ids)


def tensor(random, name, dims, dtype):
    """Random weights of the size that keeps the sums of a network near 1; an output that decides."""
    cols, count = dims[-1], int(np.prod(dims))
    size = (4 if 'output' in name or 'embed' in name else 1) * cols ** -0.5
    if dtype == spec.Q4_0 and cols % 2:
        dtype = spec.F32
    if dtype == spec.F32:
        values = random.normal(0, size, count)
        return spec.Tensor(name, dims, dtype, (values + (len(dims) == 1)).astype(np.float32))
    if dtype == spec.Q8_0:
        block, spread, ends = cols, 40, (-127, 127)
    else:
        block, spread, ends = random.choice([b for b in (2, 6, 8, 32, cols) if cols % b == 0]), 3, (-8, 7)
    codes = np.clip(np.rint(random.normal(0, spread, count)), *ends).astype(np.int8)
    scales = (size / spread * random.uniform(0.5, 1.5, count // block)).astype(np.float32)
    return spec.Tensor(name, dims, dtype, codes, scales, int(block))


class Network(support.Case):
    def make(self, seed, storage, merges=(), **changes):
        """A model file, the same in NumPy, and its tokens."""
        random = np.random.default_rng(seed)
        tokens = Tokens(merges)
        shape = dict(SHAPE, vocab_size=260 + len(merges), **changes)
        tensors = [tensor(random, name, dims, storage or int(random.integers(1, 4)))
                   for name, dims in spec.contract(shape)]
        path = self.path('model%d.slm' % seed)
        support.write(path, spec.write_model(spec.Model(shape, tokens.section(), tensors)))
        return path, reference.read_slm1(path), tokens

    def models(self):
        for i, (storage, merges, changes) in enumerate((
                (spec.F32, (), {}),
                (spec.Q8_0, (), {'flags': 1}),
                (spec.Q4_0, (), {'kv_head_count': 6}),
                (None, MERGES, {}),
                (None, MERGES, {'flags': 1, 'kv_head_count': 1, 'head_count': 5}),
                (spec.Q8_0, (), {'hidden_size': 37, 'ffn_size': 41, 'head_dim': 2}),
                (spec.F32, (), {'hidden_size': 3, 'ffn_size': 1, 'max_context': 2}))):
            with self.subTest(storage=storage, pairs=bool(merges), **changes):
                yield self.make(i, storage, merges, **changes)

    def continuation(self, model, tokens, prompt, count, choose):
        """What the engine is to add to a prompt."""
        context, added = model.shape['context'], []
        text = [BOS] + tokens.encode(prompt.encode())
        for _ in range(count):
            if len(text) > context:
                text = [BOS] + text[-(context // 2):]
            token = choose(model.logits(np.array([text]))[0, -1])
            if token == EOS:
                break
            text.append(token)
            added.append(token)
        return tokens.decode(added)

    def test_the_likeliest_token(self):
        def choose(scores):
            second, first = np.sort(scores)[-2:]
            self.assertGreater(first - second, 1e-4, 'no verdict: choose another seed')
            return int(scores.argmax())

        for path, model, tokens in self.models():
            for prompt in ('', 'the hen', TEXT):
                expected = self.continuation(model, tokens, prompt, 40, choose)
                got = self.generate(path, prompt, '--greedy', '--tokens', '40')
                self.assertEqual(got, prompt.encode() + expected)

    def test_the_trained_model(self):
        path = support.data('union.q8_0.slm')
        expected = self.continuation(reference.read_slm1(path), Tokens(()), 'The ', 150,
                                     lambda scores: int(scores.argmax()))
        got = self.generate(path, 'The ', '--greedy', '--tokens', '150')
        self.assertEqual(got, b'The ' + expected)

    def test_bits_per_byte(self):
        text = (TEXT + ' xylophone.').encode() * 3
        support.write(self.path('text'), text)
        for path, model, tokens in self.models():
            for window in (1, model.shape['context'] // 2, model.shape['context']):
                bits, count = 0, len(text) // window
                for i in range(count):
                    ids = tokens.encode(text[i * window:(i + 1) * window])
                    scores = model.logits(np.array([[BOS] + ids[:-1]]))[0].astype(np.float64)
                    totals = np.log(np.exp(scores).sum(axis=-1))
                    bits += (totals - scores[np.arange(len(ids)), ids]).sum() / np.log(2)
                got = self.bits(path, self.path('text'), '--window', str(window))
                self.assertEqual(got[1:], (count * window, count))
                self.assertAlmostEqual(got[0], bits / (count * window), delta=2e-4)

    def test_a_window_longer_than_what_is_evaluated_at_once(self):
        path, model, _ = self.make(11, spec.F32, max_context=300)
        text = (TEXT.encode() * 5)[:300]
        support.write(self.path('text'), text)
        self.assertAlmostEqual(self.bits(path, self.path('text'))[0], model.bits_per_byte(text),
                               delta=2e-4)
        prompt = text.decode()[:280]
        expected = self.continuation(model, Tokens(()), prompt, 10, lambda s: int(s.argmax()))
        self.assertEqual(self.generate(path, prompt, '--greedy', '--tokens', '10'),
                         prompt.encode() + expected)


class Draws:
    """The sampler, from its description."""

    def __init__(self, temperature=0.5, top_k=0, top_p=1.0, seed=0):
        self.temperature, self.top_k, self.top_p, self.state = temperature, top_k, top_p, seed

    def bits(self):
        """SplitMix64."""
        mask = 2 ** 64 - 1
        self.state = (self.state + 0x9e3779b97f4a7c15) & mask
        z = self.state
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & mask
        z = (z ^ z >> 27) * 0x94d049bb133111eb & mask
        return z ^ z >> 31

    def __call__(self, scores):
        order = np.argsort(-scores, kind='stable')
        if self.top_k:
            order = order[:self.top_k]
        weights = np.exp((scores[order].astype(np.float64) - scores[order[0]]) / self.temperature)
        sums = np.cumsum(weights)
        kept = int(np.searchsorted(sums, self.top_p * sums[-1])) + 1
        drawn = (self.bits() >> 11) * 2.0 ** -53 * sums[min(kept, len(sums)) - 1]
        return int(order[np.searchsorted(sums, drawn)])


class Sampling(Network):
    def test_random_numbers(self):
        # As published with the generator: the first numbers after 1234567.
        draws = Draws(seed=1234567)
        self.assertEqual([draws.bits() for _ in range(5)],
                         [6457827717110365317, 3203168211198807973, 9817491932198370423,
                          4593380528125082431, 16408922859458223821])

    def test_draws(self):
        path, model, tokens = self.make(5, None, MERGES)
        texts = set()
        for options in ({}, {'seed': 2 ** 64 - 1}, {'temperature': 1.5}, {'top_k': 3, 'seed': 7},
                        {'top_p': 0.6, 'seed': 8, 'temperature': 1},
                        {'top_k': 5, 'top_p': 0.5, 'temperature': 2.5, 'seed': 9}, {'top_k': 1},
                        {'top_p': 1e-9}):
            arguments = [x for name, value in options.items()
                         for x in ('--' + name.replace('_', '-'), str(value))]
            expected = self.continuation(model, tokens, 'the ', 40, Draws(**options))
            got = self.generate(path, 'the ', '--tokens', '40', *arguments)
            self.assertEqual(got, b'the ' + expected, options)
            texts.add(got)
        self.assertEqual(len(texts), 7)  # the last two leave one candidate each
        self.assertIn(self.generate(path, 'the ', '--tokens', '40', '--greedy'), texts)


if __name__ == '__main__':
    support.main()
