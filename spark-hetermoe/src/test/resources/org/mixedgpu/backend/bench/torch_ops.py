"""The ops of OpBench in PyTorch, by the same names: name, tab, best milliseconds."""
import sys
import time

import torch
import torch.nn.functional as F

threads, part = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
torch.set_num_threads(threads)
torch.manual_seed(1)
# As in OpBench: with one thread its CPU time.
now = time.process_time if threads == 1 else time.perf_counter


def bench(name, op):
    if part not in name:
        return
    op()
    end = time.perf_counter() + 0.4
    best, runs = 1e9, 0
    while runs < 3 or time.perf_counter() < end:
        start = now()
        op()
        best = min(best, now() - start)
        runs += 1
    print(f"{name}\t{best * 1e3:.4f}", flush=True)


def products(m, n, k):
    x, w, y = torch.randn(m, k), torch.randn(n, k), torch.randn(m, n)
    out, dx, dw = torch.empty(m, n), torch.empty(m, k), torch.zeros(n, k)
    size = f"{m}x{n}x{k}"
    bench(f"linear {size}", lambda: torch.mm(x, w.T, out=out))
    bench(f"linear dx {size}", lambda: torch.mm(y, w, out=dx))
    bench(f"linear dw {size}", lambda: dw.addmm_(y.T, x))


def attention(batch, heads, kv, d, t):
    size = f"{batch}x{heads}/{kv}x{d}x{t}"
    # As in a model: the projections' outputs, seen per head. GQA repeats K and V, as transformers does.
    q = torch.randn(batch, t, heads, d, requires_grad=True)
    k = torch.randn(batch, t, kv, d, requires_grad=True)
    v = torch.randn(batch, t, kv, d, requires_grad=True)

    def forward():
        views = [z.transpose(1, 2) for z in (q, k, v)]
        return F.scaled_dot_product_attention(*views, is_causal=True, enable_gqa=heads != kv)

    def inference():
        with torch.no_grad():
            forward()

    bench(f"attention {size}", inference)
    out = forward()
    grad = torch.randn_like(out)
    bench(f"attention bw {size}", lambda: torch.autograd.grad(out, (q, k, v), grad, retain_graph=True))


rows, hidden, ffn = 1024, 768, 3072
products(rows, hidden, hidden)
products(rows, ffn, hidden)
x, w, y = torch.randn(8, 256, hidden), torch.randn(8, 1024, hidden), torch.empty(8, 256, 1024)


def experts():
    for e in range(8):
        torch.mm(x[e], w[e].T, out=y[e])


bench("experts 8 of 256 rows", experts)
attention(1, 12, 12, 64, rows)
attention(1, 12, 2, 64, rows)
attention(8, 12, 12, 64, 128)


def backward(name, out, inputs):
    grad = torch.randn_like(out)
    bench(name, lambda: torch.autograd.grad(out, inputs, grad, retain_graph=True))


x, gain = torch.randn(rows, hidden, requires_grad=True), torch.randn(hidden, requires_grad=True)
y, out = torch.randn(rows, hidden), torch.empty(rows, hidden)
with torch.no_grad():
    bench("rmsnorm", lambda: F.rms_norm(x, (hidden,), gain, 1e-5))
    bench("add", lambda: torch.add(x, y, out=out))
backward("rmsnorm backward", F.rms_norm(x, (hidden,), gain, 1e-5), (x, gain))
q, cos, sin = torch.randn(1, 12, rows, 64), torch.randn(1, 1, rows, 64), torch.randn(1, 1, rows, 64)
bench("rope", lambda: q * cos + torch.cat((-q[..., 32:], q[..., :32]), -1) * sin)
gate, up = torch.randn(rows, ffn, requires_grad=True), torch.randn(rows, ffn, requires_grad=True)
with torch.no_grad():
    bench("swiglu", lambda: F.silu(gate) * up)
backward("swiglu backward", F.silu(gate) * up, (gate, up))
logits = torch.randn(256, 32000, requires_grad=True)
targets = torch.randint(0, 32000, (256,))
bench(
    "cross entropy",
    lambda: torch.autograd.grad(F.cross_entropy(logits, targets, reduction="sum"), logits),
)
table, ids = torch.randn(32000, hidden), torch.randint(0, 32000, (rows,))
bench("embedding", lambda: F.embedding(ids, table))
bench("embedding backward", lambda: table.index_add_(0, ids, y))
router = torch.randn(rows, 64)


def topk():
    p = F.softmax(router, -1)
    w, e = p.topk(4, -1)
    return w / w.sum(-1, keepdim=True), e


bench("router top-4 of 64", topk)
chosen = topk()[1]
bench("sort by expert", lambda: chosen.flatten().sort(stable=True))
order = chosen.flatten().sort(stable=True)[1]
with torch.no_grad():
    bench("dispatch", lambda: x.index_select(0, order // 4))
slots, weights = torch.randn(rows * 4, hidden), torch.rand(rows, 4)
inverse = torch.argsort(order)
bench(
    "combine",
    lambda: (slots[inverse].view(rows, 4, hidden) * weights.unsqueeze(-1)).sum(1),
)
p = torch.nn.Parameter(torch.randn(25_000_000))
p.grad = torch.randn(25_000_000)
adam = torch.optim.AdamW([p], lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
bench("adamw 25M", adam.step)
bench("sum of squares 25M", lambda: p.grad.norm())
bench("fill 25M", lambda: p.grad.zero_())
