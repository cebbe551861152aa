"""What PyTorch and Hugging Face transformers need on the same GPU: the baseline of the CUDA benchmarks.

Reads a command a line from standard input and answers each with one line of JSON. Between two
commands that time an op it holds no GPU memory but the CUDA context; a model is held from `open`
to `close`. Seconds are wall time around repetitions that end with a synchronisation, as on the
other side. Usage: python torch_gpu.py; needs torch, and transformers for models.
"""
import gc
import json
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

dev = "cuda" if torch.cuda.is_available() else "cpu"
real = torch.bfloat16
torch.manual_seed(1)


def wait():
    if dev == "cuda":
        torch.cuda.synchronize()


def rand(*shape, dtype=None, grad=False):
    return (torch.rand(*shape, device=dev) - 0.5).to(dtype or real).requires_grad_(grad)


def seconds(op, samples, warm=3, slice_=0.02):
    """Wall seconds of one repetition, `samples` times."""
    for _ in range(warm):
        op()
    wait()
    start = time.perf_counter()
    op()
    wait()
    repeats = max(1, min(1000, int(slice_ / max(1e-7, time.perf_counter() - start))))
    found = []
    for _ in range(samples):
        wait()
        start = time.perf_counter()
        for _ in range(repeats):
            op()
        wait()
        found.append((time.perf_counter() - start) / repeats)
    return found


def gradients(out, inputs):
    dout = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, inputs, dout, retain_graph=True)


# --- ops: each returns what to time ------------------------------------------------------------


def copy(n):
    x, y = rand(n), torch.empty(n, device=dev, dtype=real)
    return lambda: y.copy_(x)


def gemm(transpose, m, n, k):
    a = rand(k, m).T if transpose == "TN" else rand(m, k)
    b = rand(n, k).T if transpose == "NT" else rand(k, n)
    out = torch.empty(m, n, device=dev, dtype=real)
    return lambda: torch.mm(a, b, out=out)


def attention(t, heads, kv, d, backward):
    q = rand(1, heads, t, d, grad=True)
    k, v = rand(1, kv, t, d, grad=True), rand(1, kv, t, d, grad=True)
    forward = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=kv != heads)
    if backward:
        return gradients(forward(), (q, k, v))

    def inference():
        with torch.no_grad():
            forward()

    return inference


def grouped(kind, k, n, counts):
    """The faster of the two layouts of the weights counts as the baseline."""
    rows = [int(c) for c in counts.split(",")]
    total = sum(rows)
    offsets = torch.tensor(rows, device=dev).cumsum(0).to(torch.int32)
    x, dy = rand(total, k), rand(total, n)
    w = rand(len(rows), n, k)
    wt = w.transpose(1, 2).contiguous()
    if kind == "forward":
        return [
            lambda: torch._grouped_mm(x, w.transpose(1, 2), offs=offsets),
            lambda: torch._grouped_mm(x, wt, offs=offsets),
        ]
    if kind == "data":
        return [
            lambda: torch._grouped_mm(dy, w, offs=offsets),
            lambda: torch._grouped_mm(dy, wt.transpose(1, 2), offs=offsets),
        ]
    product = lambda: torch._grouped_mm(dy.T, x, offs=offsets)
    if kind == "weight":
        return product
    total32 = torch.zeros(len(rows), n, k, device=dev)
    return lambda: total32.add_(product())


def rms_norm(r, n, backward):
    x, gain = rand(r, n, grad=True), rand(n, grad=True)
    if backward:
        return gradients(F.rms_norm(x, (n,), gain, 1e-5), (x, gain))

    def inference():
        with torch.no_grad():
            F.rms_norm(x, (n,), gain, 1e-5)

    return inference


def rope(r, heads, d):
    x, cos, sin = rand(r, heads, d), rand(r, 1, d), rand(r, 1, d)
    h = d // 2
    return lambda: x * cos + torch.cat((-x[..., h:], x[..., :h]), -1) * sin


def swiglu(r, n, backward):
    gate, up = rand(r, n, grad=True), rand(r, n, grad=True)
    if backward:
        return gradients(F.silu(gate) * up, (gate, up))

    def inference():
        with torch.no_grad():
            F.silu(gate) * up

    return inference


def add(n):
    x, y, out = rand(n), rand(n), torch.empty(n, device=dev, dtype=real)
    return lambda: torch.add(x, y, out=out)


def gather(r, h, k):
    x = rand(r, h)
    order = torch.randperm(r * k, device=dev) // k
    return lambda: x.index_select(0, order)


def combine(r, h, k):
    slots, weights = rand(r * k, h), rand(r, k, 1)
    slot_of = torch.randperm(r * k, device=dev)
    return lambda: (slots.index_select(0, slot_of).view(r, k, h) * weights).sum(1)


def bias_backward(r, n):
    dout = rand(r, n)
    return lambda: dout.sum(0)


def scatter(r, h, v, text):
    """An embedding's gradient, added to F32 or as a new bf16 table: the faster counts."""
    ids = torch.pow(float(v), torch.rand(r, device=dev)).long() - 1 if text else torch.randint(0, v, (r,), device=dev)
    dout, table = rand(r, h), torch.zeros(v, h, device=dev)
    return [
        lambda: table.index_add_(0, ids, dout.float()),
        lambda: torch.ops.aten.embedding_dense_backward(dout, ids, v, -1, False),
    ]


def adamw(n):
    p = torch.nn.Parameter(rand(n, dtype=torch.float32))
    p.grad = rand(n, dtype=torch.float32)
    return torch.optim.AdamW([p], lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True).step


def cross_entropy(r, v):
    logits = rand(r, v, grad=True)
    targets = torch.randint(0, v, (r,), device=dev)
    return lambda: torch.autograd.grad(F.cross_entropy(logits, targets), logits)


OPS = dict(
    copy=copy, gemm=gemm, attention=attention, grouped=grouped, rms_norm=rms_norm, rope=rope,
    swiglu=swiglu, add=add, gather=gather, combine=combine, adamw=adamw, cross_entropy=cross_entropy,
    bias_backward=bias_backward, scatter=scatter,
)


def time_op(samples, words):
    op = OPS[words[0]](*[int(w) if w.isdigit() else w for w in words[1:]])
    ways = op if isinstance(op, list) else [op]
    found = [seconds(way, samples) for way in ways]
    return {"seconds": min(found, key=lambda s: sorted(s)[len(s) // 2])}


# --- models ------------------------------------------------------------------------------------

model = optimizer = None


def open_model(family, rest):
    """A random model in bf16; experts in one grouped product, as transformers does at its best."""
    global model
    from transformers import AutoConfig, AutoModelForCausalLM

    more = {"experts_implementation": "grouped_mm"} if family == "mixtral" else {}
    torch.set_default_dtype(real)
    with torch.device(dev):
        config = AutoConfig.for_model(family, **json.loads(rest))
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", **more)
    torch.set_default_dtype(torch.float32)
    return {"parameters": sum(p.numel() for p in model.parameters())}


def prefill(samples, tokens):
    """Logits of the last token on the host, with a KV cache."""
    model.eval()
    ids = torch.randint(0, model.config.vocab_size, (1, tokens), device=dev)

    def step():
        with torch.no_grad():
            model(ids, use_cache=True, logits_to_keep=1).logits[0, -1].float().cpu()

    return {"seconds": seconds(step, samples, warm=2, slice_=0)}


def train(samples, batch, tokens):
    """One step: forward, mean cross entropy, backward, fused AdamW; bf16 throughout, no clipping."""
    global optimizer
    model.train()
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    vocab = model.config.vocab_size
    ids = torch.randint(0, vocab, (batch, tokens), device=dev)

    def step():
        logits = model(ids, use_cache=False).logits
        F.cross_entropy(logits[:, :-1].reshape(-1, vocab), ids[:, 1:].reshape(-1)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    wait()
    if dev == "cuda":
        torch.cuda.reset_peak_memory_stats()
    found = seconds(step, samples, warm=1, slice_=0)
    peak = torch.cuda.max_memory_allocated() if dev == "cuda" else 0
    state = sum(4 * p.numel() * p.element_size() for p in model.parameters())
    return {"seconds": found, "peakBytes": peak, "stateBytes": state}


def errors(folder, out):
    """A golden model in fp64 and in bf16: `out` gets the fp64 logits and gradients of the mean
    cross entropy of the recorded sequences, in F32; the answer has the RMS errors of bf16."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    ids = load_file(folder + "/golden.safetensors")["input_ids"].long().to(dev)

    def run(dtype, attention):
        net = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention, experts_implementation="eager"
        ).to(dev)
        logits = net(ids).logits
        vocab = logits.shape[-1]
        F.cross_entropy(
            logits[:, :-1].reshape(-1, vocab).to(torch.promote_types(dtype, torch.float32)),
            ids[:, 1:].reshape(-1),
        ).backward()
        gradients = {}
        for name, parameter in net.named_parameters():
            if name.endswith("gate_up_proj"):
                gate, up = parameter.grad.double().chunk(2, dim=1)
                gradients |= {name.replace("gate_up", "gate"): gate, name.replace("gate_up", "up"): up}
            else:
                gradients[name] = parameter.grad.double()
        return logits.detach().double(), gradients

    exact, exact_gradients = run(torch.float64, "eager")
    rounded, rounded_gradients = run(real, "sdpa")
    save_file(
        {n: g.float().cpu().contiguous() for n, g in exact_gradients.items()}
        | {"logits": exact.float().cpu().contiguous()},
        out,
    )
    squares = [((rounded_gradients[n] - g) ** 2).sum() for n, g in exact_gradients.items()]
    count = sum(g.numel() for g in exact_gradients.values())
    return {
        "logits": float(((rounded - exact) ** 2).mean().sqrt()),
        "gradients": float((sum(squares) / count).sqrt()),
    }


def close_model():
    global model, optimizer
    model = optimizer = None
    return {}


def machine():
    facts = {"torch": torch.__version__, "cuda": torch.version.cuda, "device": "cpu", "driver": "none"}
    if dev == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        facts["driver"] = subprocess.run(query, capture_output=True, text=True).stdout.split()[0]
        facts["device"] = torch.cuda.get_device_name()
    try:
        import importlib.metadata

        facts["transformers"] = importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        facts["transformers"] = "none"
    return facts


def used():
    """Bytes of the whole device that are in use, by any process."""
    if dev != "cuda":
        return {"bytes": 0}
    free, total = torch.cuda.mem_get_info()
    return {"bytes": total - free}


def answer(words, line):
    if words[0] == "machine":
        return machine()
    if words[0] == "used":
        return used()
    if words[0] == "op":
        return time_op(int(words[1]), words[2:])
    if words[0] == "open":
        return open_model(words[1], line.split(" ", 2)[2])
    if words[0] == "prefill":
        return prefill(int(words[1]), int(words[2]))
    if words[0] == "train":
        return train(*map(int, words[1:]))
    if words[0] == "errors":
        return errors(words[1], words[2])
    if words[0] == "close":
        return close_model()
    return {"error": "unknown command " + words[0]}


for line in sys.stdin:
    try:
        reply = answer(line.split(), line.strip())
    except Exception as e:  # the other side decides what a failed baseline means
        reply = {"error": f"{type(e).__name__}: {str(e)[:300]}"}
    gc.collect()
    if dev == "cuda":
        torch.cuda.empty_cache()
    print(json.dumps(reply), flush=True)
