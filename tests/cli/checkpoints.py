"""Hugging Face checkpoints, PEFT LoRAs and tokenizers for the tests of convert, small and good."""
import json
import os
import struct

import support

CONFIG = {
    'architectures': ['LlamaForCausalLM'], 'model_type': 'llama', 'hidden_size': 8,
    'intermediate_size': 12, 'num_hidden_layers': 2, 'num_attention_heads': 2,
    'num_key_value_heads': 1, 'vocab_size': 260, 'max_position_embeddings': 16,
    'rms_norm_eps': 1e-5, 'rope_theta': 10000.0, 'hidden_act': 'silu',
    'tie_word_embeddings': False, 'bos_token_id': 256, 'eos_token_id': 257, 'pad_token_id': 258}

ADAPTER = {
    'peft_type': 'LORA', 'task_type': 'CAUSAL_LM', 'r': 2, 'lora_alpha': 4, 'bias': 'none',
    'target_modules': ['q_proj', 'up_proj']}

# Where each SLM1 tensor of a layer comes from, and rows and columns of the matrices.
MATRICES = {'self_attn.q_proj': (8, 8), 'self_attn.k_proj': (4, 8), 'self_attn.v_proj': (4, 8),
            'self_attn.o_proj': (8, 8), 'mlp.gate_proj': (12, 8), 'mlp.up_proj': (12, 8),
            'mlp.down_proj': (8, 12)}
NORMS = ('input_layernorm', 'post_attention_layernorm')


ABSENT = object()


def changed(document, changes):
    """A copy with some keys set, or taken away where the value is ABSENT."""
    result = dict(document, **changes)
    return {key: value for key, value in result.items() if value is not ABSENT}


def header_of(path):
    raw = support.read(path)
    length, = struct.unpack_from('<Q', raw)
    return json.loads(raw[8:8 + length]), raw[8 + length:]


def put(path, header, body, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    support.write(path, struct.pack('<Q', len(text) if length is None else length) + text + body)


def put_json(path, value):
    support.write(path, json.dumps(value).encode())


def count(dims):
    product = 1
    for dim in dims:
        product *= dim
    return product


def values(name, dims):
    """A tensor (dtype, dims, bytes) of small values that follow from its name; none is zero."""
    seed = sum(name.encode())
    numbers = [((seed + 7 * i) % 31 - 15.5) / 64 for i in range(count(dims))]
    return 'F32', list(dims), struct.pack('<%df' % len(numbers), *numbers)


def put_tensors(path, tensors, metadata=None):
    """A safetensors file of {name: (dtype, dims, bytes)}."""
    header, body = {}, b''
    if metadata is not None:
        header['__metadata__'] = metadata
    for name, (dtype, dims, content) in tensors.items():
        end = len(body) + len(content)
        header[name] = {'dtype': dtype, 'shape': dims, 'data_offsets': [len(body), end]}
        body += content
    put(path, header, body)


def checkpoint_tensors(layers=2, vocab_size=260):
    dims = {'model.embed_tokens.weight': (vocab_size, 8), 'model.norm.weight': (8,),
            'lm_head.weight': (vocab_size, 8)}
    for layer in range(layers):
        for part, shape in MATRICES.items():
            dims['model.layers.%d.%s.weight' % (layer, part)] = shape
        for part in NORMS:
            dims['model.layers.%d.%s.weight' % (layer, part)] = (8,)
    return {name: values(name, shape) for name, shape in dims.items()}


def lora_tensors(modules=None, rank=2):
    """The factors of modules {name: (rows, columns)}, by default those that ADAPTER targets."""
    if modules is None:
        modules = {'model.layers.%d.%s' % (layer, part): MATRICES[part]
                   for layer in range(2) for part in ('self_attn.q_proj', 'mlp.up_proj')}
    tensors = {}
    for module, (rows, cols) in modules.items():
        for part, dims in (('A', (rank, cols)), ('B', (rows, rank))):
            name = 'base_model.model.%s.lora_%s.weight' % (module, part)
            tensors[name] = values(name, dims)
    return tensors


def byte_characters():
    """The character that byte-level BPE writes for each byte: those that can be seen stand for
    themselves, the others for the characters from 256 on."""
    seen = [*range(ord('!'), ord('~') + 1), *range(0xa1, 0xac + 1), *range(0xae, 0xff + 1)]
    others = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) if byte in seen else chr(256 + others.index(byte))
            for byte in range(256)}


def tokenizer(first=0):
    """A tokenizer.json of 262 ids: bytes from `first` on, four special tokens, "th", " th"."""
    letters = byte_characters()
    vocabulary = {letters[byte]: first + byte for byte in range(256)}
    vocabulary.update({'th': 260, letters[32] + 'th': 261})
    special = 256 if first == 0 else 0
    added = [{'id': special + i, 'content': content, 'special': True}
             for i, content in enumerate(('<s>', '</s>', '<pad>', '<unk>'))]
    return {'version': '1.0', 'added_tokens': added, 'normalizer': None,
            'pre_tokenizer': {'type': 'ByteLevel', 'add_prefix_space': False, 'use_regex': False},
            'decoder': {'type': 'ByteLevel'},
            'model': {'type': 'BPE', 'unk_token': '<unk>', 'vocab': vocabulary,
                      'merges': ['t h', [letters[32], 'th']]}}


class Bpe1:
    """The BPE1 section of a model, read as docs/formats.md says."""

    def __init__(self, path):
        raw = support.read(path)
        offset, length = struct.unpack_from('<QQ', raw, 64)
        section = raw[offset:offset + length]
        (magic, _, self.vocab_size, self.bos, self.eos, self.pad, self.unk, tokens,
         merges) = struct.unpack_from('<4s8I', section)
        assert magic == b'BPE1', magic
        self.tokens, at = {}, 36
        for _ in range(tokens):
            number, size = struct.unpack_from('<II', section, at)
            self.tokens[number] = section[at + 8:at + 8 + size]
            at += 8 + size
        self.merges = [struct.unpack_from('<4I', section, at + 16 * i) for i in range(merges)]
        assert at + 16 * merges == len(section)


class Case(support.Case):
    """A test with a good checkpoint, a good LoRA and their model, which it may spoil."""

    def setUp(self):
        super().setUp()
        for folder in ('checkpoint', 'lora'):
            os.mkdir(self.path(folder))
        self.put_checkpoint()
        self.put_lora()

    def put_checkpoint(self, tensors=None, **changes):
        put_json(self.path('checkpoint/config.json'), dict(CONFIG, **changes))
        put_tensors(self.path('checkpoint/model.safetensors'), tensors or checkpoint_tensors())

    def put_lora(self, tensors=None, **changes):
        put_json(self.path('lora/adapter_config.json'), dict(ADAPTER, **changes))
        put_tensors(self.path('lora/adapter_model.safetensors'), tensors or lora_tensors())

    def put_tokenizer(self, document):
        put_json(self.path('checkpoint/tokenizer.json'), document)

    def convert(self, source, *arguments, output='out'):
        return self.run_json('convert', source, '-o', output, *arguments)

    def good(self, source='checkpoint', *arguments, output='out'):
        """Converts, replacing what is there; the result."""
        run = self.convert(source, *arguments, '--force', output=output)
        self.assertEqual((run.code, run.codes()), (support.OK, []), run)
        return run.result

    def refused(self, run, exit_code, *findings):
        """Exactly these findings, each (code, pointer) or (code, pointer, tensor), in any order;
        a pointer of None is that of a finding that has none. No output, and nothing beside it."""
        left = os.path.exists(self.path('out'))
        if left:
            os.remove(self.path('out'))
        self.assertEqual(run.code, exit_code, run)
        keys = ('code', 'pointer', 'tensor')
        seen = [tuple(f.get(key) for key in keys[:len(findings[0])])
                for f in run.document['findings']]
        self.assertEqual(sorted(seen, key=str), sorted(findings, key=str), run)
        self.assertFalse(left, 'a refused conversion left an output')
        self.assertEqual([name for name in self.names() if name.startswith('.')], [])
