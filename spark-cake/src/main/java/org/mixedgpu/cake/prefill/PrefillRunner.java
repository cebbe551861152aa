package org.mixedgpu.cake.prefill;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.key.PrefixKey;
import org.mixedgpu.cake.store.CacheSnapshot;
import org.mixedgpu.cake.store.ChunkWriter;
import org.mixedgpu.cake.store.KvStore;
import org.mixedgpu.cake.store.StoredChunk;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.KvCache;
import org.mixedgpu.tensor.Tensor;

/**
 * Prefills prompts one after the other with one model. The KV cache keeps the last prompt, so that
 * a prefix which the next one shares costs nothing: give prompts in depth-first order of their
 * prefixes. Everything happens on the chunk grid of the store, whose chunks are computed one by
 * one, so that computed and loaded bits are the same wherever the two sides meet. The chunk with
 * the last token is always computed, for its logits.
 *
 * <p>Not thread-safe. Memory: the KV cache of {@link PrefillOptions#maxTokens} on the device, and,
 * from the first prompt with stored chunks on, one chunk on the host for each read in flight. Does
 * not own model and store.
 */
public final class PrefillRunner implements AutoCloseable {
  private final DecoderModel model;
  private final Backend backend;
  private final KvLayout layout;
  private final CacheSnapshot snapshot;
  private final PrefillOptions options;
  private final KvCache cache;
  private final BackLoader loader;
  private final NextToken output;
  private final ComputePace pace = new ComputePace();

  /** The prompt whose KV is in the cache; empty after a failure. */
  private int[] resident = {};

  private Front last;

  /**
   * @param store of a layout in the type that the model's backend computes in
   * @param snapshot what may be loaded
   */
  public PrefillRunner(
      DecoderModel model, KvStore store, CacheSnapshot snapshot, PrefillOptions options) {
    this.model = model;
    this.backend = model.backend();
    this.layout = store.layout();
    Check.input(
        layout.type() == backend.computeType(),
        "The store holds KV in %s and %s computes in %s; open the store with the layout of that"
            + " type",
        layout.type(),
        backend.name(),
        backend.computeType());
    this.snapshot = snapshot;
    this.options = options;
    cache = model.cache(options.maxTokens());
    BackLoader opened = null;
    try {
      opened = new BackLoader(backend, cache, store, options.rate(), pace, options.readsInFlight());
      output = new NextToken(model);
    } catch (Throwable e) {
      // Errors too: host memory may be what is short, and the backend outlives this runner.
      try (KvCache last = cache;
          BackLoader first = opened) {
        throw e;
      }
    }
    loader = opened;
  }

  /** Prefills a prompt of 1 to maxTokens tokens. */
  public PrefillResult run(int[] tokens) {
    return run(tokens, Claims.of(options.mode()));
  }

  PrefillResult run(int[] tokens, Claims claims) {
    Check.input(
        tokens.length > 0 && tokens.length <= options.maxTokens(),
        "A prompt needs 1 to %d tokens; found %d",
        options.maxTokens(),
        tokens.length);
    long start = System.nanoTime();
    if (Arrays.equals(tokens, resident)) {
      return new PrefillResult(
          output.logits(),
          output.hidden(),
          tokens.length,
          0,
          0,
          tokens.length,
          0,
          System.nanoTime() - start,
          List.of());
    }
    Front prompt = prepare(tokens, claims);
    last = prompt;
    // Until this prompt is done, rows of the cache may belong to either.
    resident = new int[0];
    int chunk = layout.chunkTokens();
    prompt.walk =
        loader.start(
            prompt.states,
            Arrays.copyOf(prompt.stored, prompt.states.size()),
            prompt.reused,
            claims);
    int from = prompt.states.size() * chunk;
    boolean complete = false;
    try {
      for (int i = prompt.reused; i < prompt.states.size(); i++) {
        prompt.obtain(i);
      }
      complete = true;
    } finally {
      if (!complete) {
        prompt.abandon();
      }
    }
    output.compute(tokens, from, cache);
    if (tokens.length - from == chunk) {
      prompt.computed[prompt.states.size()] = true;
    }
    long nanos = System.nanoTime() - start;
    resident = tokens.clone();
    int loaded = prompt.walk.loaded() * chunk;
    int reused = prompt.reused * chunk;
    return new PrefillResult(
        output.logits(),
        output.hidden(),
        tokens.length,
        tokens.length - loaded - reused,
        loaded,
        reused,
        prompt.walk.overtaken(),
        nanos,
        prompt.walk.problems());
  }

  private Front prepare(int[] tokens, Claims claims) {
    int chunk = layout.chunkTokens();
    PrefixKey[] keys = PrefixKey.chain(layout, tokens);
    StoredChunk[] stored = snapshot.find(layout, keys, keys.length, tokens);
    int loadable = (tokens.length - 1) / chunk;
    int same = Arrays.mismatch(tokens, resident);
    int reused = Math.min(loadable, (same < 0 ? tokens.length : same) / chunk);
    return new Front(this::compute, pace, claims, tokens.clone(), keys, stored, loadable, reused);
  }

  private void compute(int[] tokens, int i) {
    int chunk = layout.chunkTokens();
    model.prefill(tokens, i * chunk, chunk, cache, null);
    backend.synchronize();
  }

  /**
   * Writes chunks of the last prompt that were computed and are not stored undamaged, the last
   * first.
   *
   * @param from first chunk
   * @param to chunk after the last; may be beyond the prompt
   * @return chunks appended
   */
  public int write(ChunkWriter writer, int from, int to) {
    if (last == null || !Arrays.equals(last.tokens, resident)) {
      return 0;
    }
    int chunk = layout.chunkTokens();
    int written = 0;
    for (int i = Math.min(to, last.keys.length) - 1; i >= from; i--) {
      if (!last.computed[i] || (last.stored[i] != null && !failed(i))) {
        continue;
      }
      // What failed is written anew, for the published copy may be the bad one.
      if (writer.isPublished(last.keys[i]) && last.stored[i] == null) {
        continue;
      }
      PrefixKey parent = i == 0 ? PrefixKey.root(layout) : last.keys[i - 1];
      int[] tokens = Arrays.copyOfRange(last.tokens, i * chunk, (i + 1) * chunk);
      int first = i * chunk;
      written += writer.append(last.keys[i], parent, tokens, into -> copyOut(first, into)) ? 1 : 0;
    }
    return written;
  }

  /**
   * Whether the stored copy was tried and is bad; one overtaken by the compute side may be fine.
   */
  private boolean failed(int chunk) {
    return last.walk.problems().stream().anyMatch(p -> p.startsWith("chunk " + chunk + " "));
  }

  private void copyOut(int first, ByteBuffer into) {
    int tokens = layout.chunkTokens();
    int block = layout.blockBytes();
    for (int layer = 0; layer < cache.layers(); layer++) {
      backend.read(into.slice(2 * layer * block, block), cache.keys(layer).rows(first, tokens));
      backend.read(
          into.slice((2 * layer + 1) * block, block), cache.values(layer).rows(first, tokens));
    }
  }

  /**
   * Log-probability of each continuation of the last prompt: the sum over its tokens, each given
   * the prompt and the tokens before.
   */
  public double[] score(int[][] continuations) {
    Check.that(resident.length > 0, "Nothing to continue: no prompt was prefilled");
    double[] scores = new double[continuations.length];
    for (int i = 0; i < scores.length; i++) {
      Check.input(
          continuations[i].length > 0
              && resident.length + continuations[i].length - 1 <= options.maxTokens(),
          "A continuation of %d tokens does not fit behind a prompt of %d, with room for %d",
          continuations[i].length,
          resident.length,
          options.maxTokens());
      scores[i] = output.score(resident, continuations[i], cache);
    }
    return scores;
  }

  /** The last prompt's KV as stored chunks have it, for tests: rows [first, first + count). */
  byte[] kv(int first, int count) {
    int row = layout.rowBytes();
    ByteBuffer all =
        ByteBuffer.allocateDirect(2 * cache.layers() * count * row).order(ByteOrder.LITTLE_ENDIAN);
    for (int layer = 0; layer < cache.layers(); layer++) {
      for (Tensor tensor : new Tensor[] {cache.keys(layer), cache.values(layer)}) {
        backend.read(all.slice(all.position(), count * row), tensor.rows(first, count));
        all.position(all.position() + count * row);
      }
    }
    byte[] bytes = new byte[all.capacity()];
    all.flip().get(bytes);
    return bytes;
  }

  @Override
  public void close() {
    try (cache;
        output) {
      loader.close();
    }
  }
}
