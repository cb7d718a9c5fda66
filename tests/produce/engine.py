"""The model of docs/formats.md in NumPy, for tests: it reads an SLM1 file and predicts text.

Also the same network in the form of a Hugging Face checkpoint, whose RoPE turns the first half of a
head against the second. Both are written from the descriptions, and neither uses the project's code.
"""
import json
import os
import struct

import numpy as np

F32, Q8_0, Q4_0 = 1, 2, 3
SHAPE = ('vocab', 'special', 'hidden', 'layers', 'heads', 'kv_heads', 'head_dim', 'ffn', 'context')


def fnv1a(text):
    value = 0xcbf29ce484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return value


class Model:
    """Weights in the names of SLM1, and what turns them."""

    def __init__(self, shape, theta, epsilon, weights, adjacent):
        self.shape, self.theta, self.epsilon = shape, theta, epsilon
        self.weights, self.adjacent = weights, adjacent

    def rotate(self, x):
        """RoPE of x [windows, positions, heads, head_dim]."""
        half = x.shape[-1] // 2
        frequencies = self.theta ** (-np.arange(half) / half)
        angles = np.arange(x.shape[1])[:, None] * frequencies[None, :]
        cos, sin = (f(angles).astype(np.float32)[None, :, None, :] for f in (np.cos, np.sin))
        if self.adjacent:
            a, b = x[..., 0::2], x[..., 1::2]
            out = np.empty_like(x)
            out[..., 0::2], out[..., 1::2] = a * cos - b * sin, a * sin + b * cos
            return out
        a, b = x[..., :half], x[..., half:]
        return np.concatenate((a * cos - b * sin, b * cos + a * sin), axis=-1)

    def norm(self, x, name):
        scale = np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(self.epsilon))
        return x / scale * self.weights[name]

    def attention(self, x, layer):
        s = self.shape
        windows, length, _ = x.shape

        def heads(name, count):
            y = x @ self.weights['layers.%d.%s.weight' % (layer, name)].T
            return y.reshape(windows, length, count, s['head_dim'])

        q = self.rotate(heads('wq', s['heads']))
        shared = s['heads'] // s['kv_heads']
        k = np.repeat(self.rotate(heads('wk', s['kv_heads'])), shared, axis=2)
        v = np.repeat(heads('wv', s['kv_heads']), shared, axis=2)
        scores = np.einsum('whnd,wknd->wnhk', q, k) / np.float32(np.sqrt(s['head_dim']))
        scores = np.where(np.tril(np.ones((length, length), bool)), scores, -np.inf)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        y = np.einsum('wnhk,wknd->whnd', scores, v).reshape(windows, length, -1)
        return y @ self.weights['layers.%d.wo.weight' % layer].T

    def feed_forward(self, x, layer):
        w1, w2, w3 = (self.weights['layers.%d.w%d.weight' % (layer, i)] for i in (1, 2, 3))
        gate = x @ w1.T
        return (gate / (1 + np.exp(-gate)) * (x @ w3.T)) @ w2.T

    def logits(self, tokens):
        """[windows, positions, vocab] of tokens [windows, positions]."""
        x = self.weights['tok_embeddings.weight'][tokens]
        for layer in range(self.shape['layers']):
            x = x + self.attention(self.norm(x, 'layers.%d.attn_norm.weight' % layer), layer)
            x = x + self.feed_forward(self.norm(x, 'layers.%d.ffn_norm.weight' % layer), layer)
        x = self.norm(x, 'norm.weight')
        output = self.weights.get('output.weight', self.weights['tok_embeddings.weight'])
        return x @ output.T

    def bits_per_byte(self, text, bos=256):
        """Windows of a whole context, each predicted from BOS and its own beginning."""
        length = self.shape['context']
        windows = np.frombuffer(text[:len(text) // length * length], np.uint8).reshape(-1, length)
        total = 0.0
        for part in np.array_split(windows, max(1, len(windows) // 64)):
            inputs = np.concatenate((np.full((len(part), 1), bos), part[:, :-1]), axis=1)
            logits = self.logits(inputs).astype(np.float64)
            logits -= logits.max(axis=-1, keepdims=True)
            chosen = np.take_along_axis(logits, part[..., None].astype(int), axis=-1)[..., 0]
            total += (np.log(np.exp(logits).sum(axis=-1)) - chosen).sum()
        return total / np.log(2) / windows.size


def tensor_names(layers, tied):
    yield 'tok_embeddings.weight'
    for layer in range(layers):
        for part in ('attn_norm', 'wq', 'wk', 'wv', 'wo', 'ffn_norm', 'w1', 'w2', 'w3'):
            yield 'layers.%d.%s.weight' % (layer, part)
    yield 'norm.weight'
    if not tied:
        yield 'output.weight'


def read_slm1(path):
    with open(path, 'rb') as file:
        data = file.read()
    assert data[:4] == b'SLM1'
    flags, = struct.unpack_from('<I', data, 16)
    shape = dict(zip(SHAPE, struct.unpack_from('<9I', data, 20)))
    theta, epsilon = struct.unpack_from('<2f', data, 56)
    directory, count = struct.unpack_from('<QI', data, 80)
    names = {fnv1a(name): name for name in tensor_names(shape['layers'], flags & 1)}
    weights = {}
    for i in range(count):
        name, dtype, rank, *dims, at, length, scales_at, block, _ = struct.unpack_from(
            '<Q2I4I3Q2I', data, directory + 64 * i)
        raw = data[at:at + length]
        if dtype == F32:
            values = np.frombuffer(raw, np.float32)
        else:
            codes = np.frombuffer(raw, np.int8)
            if dtype == Q4_0:
                packed = codes.view(np.uint8)
                codes = np.stack((packed & 15, packed >> 4), axis=-1).reshape(-1).astype(np.int8)
                codes[codes > 7] -= 16
            scales = np.frombuffer(data, np.float32, len(codes) // block, scales_at)
            values = (codes.reshape(len(scales), -1).astype(np.float32) * scales[:, None])
        weights[names[name]] = values.reshape(dims[:rank])
    return Model(shape, theta, epsilon, weights, adjacent=True)


PARTS = {'attn_norm': 'input_layernorm', 'ffn_norm': 'post_attention_layernorm',
         'wq': 'self_attn.q_proj', 'wk': 'self_attn.k_proj', 'wv': 'self_attn.v_proj',
         'wo': 'self_attn.o_proj', 'w1': 'mlp.gate_proj', 'w2': 'mlp.down_proj',
         'w3': 'mlp.up_proj'}


def checkpoint_name(name):
    """What a tensor of SLM1 is called in a checkpoint."""
    whole = {'tok_embeddings.weight': 'model.embed_tokens.weight', 'norm.weight':
             'model.norm.weight', 'output.weight': 'lm_head.weight'}
    if name in whole:
        return whole[name]
    _, layer, part, _ = name.split('.')
    return 'model.layers.%s.%s.weight' % (layer, PARTS[part])


def checkpoint_model(config, tensors):
    """The model of a config.json and its tensors (float32 arrays)."""
    tied = config.get('tie_word_embeddings', False)
    heads = config['num_attention_heads']
    shape = {'vocab': config['vocab_size'], 'hidden': config['hidden_size'],
             'layers': config['num_hidden_layers'], 'heads': heads,
             'kv_heads': config.get('num_key_value_heads', heads),
             'head_dim': config.get('head_dim', config['hidden_size'] // heads),
             'ffn': config['intermediate_size'], 'context': config['max_position_embeddings']}
    weights = {name: tensors[checkpoint_name(name)]
               for name in tensor_names(shape['layers'], tied)}
    return Model(shape, config['rope_theta'], config['rms_norm_eps'], weights, adjacent=False)


# ------------------------------------------------------------------------------- safetensors

NUMPY_OF = {'F32': np.float32, 'F16': np.float16, 'F64': np.float64, 'I64': np.int64,
            'U8': np.uint8}


def bf16(values):
    """float32 to the bits of the nearest bfloat16 (ties to even)."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def write_safetensors(path, tensors, metadata=None):
    """tensors: {name: array, or (dtype name, dims, bytes)}, in the order of their data."""
    header, data = {}, b''
    if metadata is not None:
        header['__metadata__'] = metadata
    for name, value in tensors.items():
        if isinstance(value, tuple):
            dtype, dims, raw = value
        else:
            dtype = {np.dtype(t): n for n, t in NUMPY_OF.items()}[value.dtype]
            dims, raw = list(value.shape), value.tobytes()
        header[name] = {'dtype': dtype, 'shape': dims,
                        'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text + data)


def read_safetensors(path):
    """{name: float32 array} of a file in F32, F16 or BF16."""
    with open(path, 'rb') as file:
        data = file.read()
    length, = struct.unpack_from('<Q', data)
    header, tensors = json.loads(data[8:8 + length]), {}
    header.pop('__metadata__', None)
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry['data_offsets'])
        if entry['dtype'] == 'BF16':
            values = np.frombuffer(data[begin:end], np.uint16).astype(np.uint32) << 16
            values = values.view(np.float32)
        else:
            values = np.frombuffer(data[begin:end], NUMPY_OF[entry['dtype']]).astype(np.float32)
        tensors[name] = values.reshape(entry['shape'])
    return tensors


def read_checkpoint(folder):
    with open(os.path.join(folder, 'config.json')) as file:
        config = json.load(file)
    return checkpoint_model(config, read_safetensors(os.path.join(folder, 'model.safetensors')))
