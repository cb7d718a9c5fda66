"""What `convert` makes of checkpoints and LoRAs computes what they compute, by tests/produce/engine.py.

Checkpoints are made here with random weights and evaluated with Hugging Face's half-split RoPE; the
models that `convert` writes are evaluated with SLM1's. tests/engine/test_figures.py judges the bundled
model by its bits per byte, which were measured with another framework.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')  # more of them wait for each other
try:
    import numpy as np

    import engine
except ImportError:
    print('NumPy is not installed for %s' % sys.executable)
    sys.exit(77)
CONFIG = {'model_type': 'llama', 'architectures': ['LlamaForCausalLM'], 'hidden_size': 24,
          'intermediate_size': 40, 'num_hidden_layers': 2, 'num_attention_heads': 6,
          'num_key_value_heads': 2, 'head_dim': 8, 'vocab_size': 260,
          'max_position_embeddings': 16, 'rms_norm_eps': 1e-5, 'rope_theta': 500.0,
          'hidden_act': 'silu'}
cli = ''


def dims_of(config, name):
    hidden, ffn, dim = config['hidden_size'], config['intermediate_size'], config['head_dim']
    part = name.split('.')[-2]
    rows = {'wq': config['num_attention_heads'] * dim, 'wk': config['num_key_value_heads'] * dim,
            'wv': config['num_key_value_heads'] * dim, 'w1': ffn, 'w3': ffn,
            'tok_embeddings': config['vocab_size'], 'output': config['vocab_size']}
    if 'norm' in part:
        return (hidden,)
    cols = {'wo': config['num_attention_heads'] * dim, 'w2': ffn}
    return rows.get(part, hidden), cols.get(part, hidden)


class Engine(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.random = np.random.default_rng(7)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def run_tool(self, *arguments):
        done = subprocess.run([cli, *arguments], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def checkpoint(self, config, store=lambda values: values):
        """Writes a checkpoint with random weights; `store` turns them into what is saved."""
        os.makedirs(self.path('hf'), exist_ok=True)
        tensors = {}
        for name in engine.tensor_names(config['num_hidden_layers'],
                                        config.get('tie_word_embeddings', False)):
            dims = dims_of(config, name)
            values = self.random.normal(0, dims[-1] ** -0.5, dims).astype(np.float32)
            tensors[engine.checkpoint_name(name)] = store(values + (len(dims) == 1))
        engine.write_safetensors(self.path('hf', 'model.safetensors'), tensors, {'format': 'pt'})
        with open(self.path('hf', 'config.json'), 'w', encoding='utf-8') as file:
            json.dump(config, file)

    def compare(self, expected, model):
        tokens = self.random.integers(0, 260, (3, 16))
        a, b = expected.logits(tokens), engine.read_slm1(model).logits(tokens)
        self.assertGreater(np.abs(a).max(), 1)
        np.testing.assert_allclose(a, b, atol=2e-5)

    def test_the_same_network(self):
        def bf16(values):
            return 'BF16', list(values.shape), engine.bf16(values).tobytes()
        for changes, store in (({}, lambda v: v), ({'tie_word_embeddings': True}, bf16),
                               ({'num_key_value_heads': 6}, lambda v: v.astype(np.float16)),
                               ({'num_key_value_heads': 1, 'head_dim': 4}, lambda v: v)):
            with self.subTest(changes):
                self.checkpoint(dict(CONFIG, **changes), store)
                self.run_tool('convert', self.path('hf'), '-o', self.path('model'), '--force')
                self.compare(engine.read_checkpoint(self.path('hf')), self.path('model'))

    def lora(self, fan_in_fan_out, **settings):
        """A LoRA of every projection; what it adds to each tensor of the checkpoint."""
        rank, alpha = 3, 6
        tensors, deltas = {}, {}
        for name in engine.tensor_names(CONFIG['num_hidden_layers'], tied=True):
            if 'layers' not in name or 'norm' in name:
                continue
            rows, cols = dims_of(CONFIG, name)
            a = self.random.normal(0, 0.3, (rank, cols)).astype(np.float32)
            b = self.random.normal(0, 0.3, (rows, rank)).astype(np.float32)
            module = engine.checkpoint_name(name)[:-len('.weight')]
            prefix = 'base_model.model.' + module
            first, second = (b.T.copy(), a.T.copy()) if fan_in_fan_out else (a, b)
            tensors[prefix + '.lora_A.weight'], tensors[prefix + '.lora_B.weight'] = first, second
            deltas[name] = np.float32(alpha / rank) * (b @ a)
        os.makedirs(self.path('lora'), exist_ok=True)
        engine.write_safetensors(self.path('lora', 'adapter_model.safetensors'), tensors)
        with open(self.path('lora', 'adapter_config.json'), 'w', encoding='utf-8') as file:
            json.dump({'peft_type': 'LORA', 'r': rank, 'lora_alpha': alpha,
                       'target_modules': ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj',
                                          'up_proj', 'down_proj'],
                       'fan_in_fan_out': fan_in_fan_out, **settings}, file)
        return deltas

    def test_a_lora_adds_what_peft_adds(self):
        self.checkpoint(CONFIG)
        self.run_tool('convert', self.path('hf'), '-o', self.path('model'))
        for fan_in_fan_out in (False, True):
            expected = engine.read_checkpoint(self.path('hf'))
            for name, delta in self.lora(fan_in_fan_out).items():
                expected.weights[name] = expected.weights[name] + delta
            self.run_tool('convert', self.path('lora'), '-o', self.path('lora.alr1'), '--base',
                          self.path('model'), '--force')
            self.run_tool('apply', self.path('model'), self.path('lora.alr1'), '-o',
                          self.path('adapted'), '--force')
            self.compare(expected, self.path('adapted'))


if __name__ == '__main__':
    cli = os.path.abspath(sys.argv.pop(1))
    unittest.main()
