package org.mixedgpu.cake.prefill;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.key.PrefixKey;
import org.mixedgpu.cake.prefill.ChunkStates.State;
import org.mixedgpu.cake.store.CacheSnapshot;
import org.mixedgpu.cake.store.ChunkWriter;
import org.mixedgpu.cake.store.KvStore;
import org.mixedgpu.cake.store.StoredChunk;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.KvCache;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Prefills prompts one after the other with one model. The KV cache keeps the last prompt, so that
 * a prefix which the next one shares costs nothing: give prompts in depth-first order of their
 * prefixes. Everything happens on the chunk grid of the store, whose chunks are computed one by
 * one, so that computed and loaded bits are the same wherever the two sides meet. The chunk with
 * the last token is always computed, for its logits.
 *
 * <p>Not thread-safe. Memory: the KV cache of {@link PrefillOptions#maxTokens} on the device, one
 * chunk on the host for each read in flight. Does not own model and store.
 */
public final class PrefillRunner implements AutoCloseable {
  private final DecoderModel model;
  private final Backend backend;
  private final KvLayout layout;
  private final CacheSnapshot snapshot;
  private final PrefillOptions options;
  private final KvCache cache;
  private final BackLoader loader;
  private final Output output;
  private final Pace pace = new Pace();

  /** The prompt whose KV is in the cache; empty after a failure. */
  private int[] resident = {};

  private Prompt last;

  /**
   * @param snapshot what may be loaded
   */
  public PrefillRunner(
      DecoderModel model, KvStore store, CacheSnapshot snapshot, PrefillOptions options) {
    this.model = model;
    this.backend = model.backend();
    this.layout = store.layout();
    this.snapshot = snapshot;
    this.options = options;
    cache = model.cache(options.maxTokens());
    try {
      loader = new BackLoader(backend, cache, store, options.rate(), pace, options.readsInFlight());
      output = new Output(model);
    } catch (RuntimeException e) {
      cache.close();
      throw e;
    }
  }

  /** One prompt on its way. */
  private static final class Prompt {
    final int[] tokens;
    final PrefixKey[] keys;
    final StoredChunk[] stored;
    final ChunkStates states;
    final boolean[] computed;
    final int reused;
    BackLoader.Walk walk;
    long patienceNanos;

    Prompt(int[] tokens, PrefixKey[] keys, StoredChunk[] stored, int loadable, int reused) {
      this.tokens = tokens;
      this.keys = keys;
      this.stored = stored;
      this.states = new ChunkStates(loadable);
      this.computed = new boolean[keys.length];
      this.reused = reused;
    }
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
          System.nanoTime() - start,
          List.of());
    }
    Prompt prompt = prepare(tokens);
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
        obtain(prompt, i, claims);
      }
      complete = true;
    } finally {
      if (!complete) {
        abandon(prompt.states);
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
        nanos,
        prompt.walk.problems());
  }

  private Prompt prepare(int[] tokens) {
    int chunk = layout.chunkTokens();
    PrefixKey[] keys = PrefixKey.chain(layout, tokens);
    StoredChunk[] stored = snapshot.find(layout, keys, keys.length, tokens);
    int loadable = (tokens.length - 1) / chunk;
    int same = Arrays.mismatch(tokens, resident);
    int reused = Math.min(loadable, (same < 0 ? tokens.length : same) / chunk);
    return new Prompt(tokens.clone(), keys, stored, loadable, reused);
  }

  /** Returns when the chunk is in the cache, by whoever's work. */
  private void obtain(Prompt prompt, int i, Claims claims) {
    ChunkStates states = prompt.states;
    while (true) {
      State state = states.of(i);
      switch (state) {
        case DONE:
          return;
        case EMPTY:
          if (leftToLoader(prompt, i, claims)) {
            break;
          }
          if (states.move(i, State.EMPTY, State.COMPUTING)) {
            compute(prompt, i);
            return;
          }
          break;
        case FAILED:
          if (states.move(i, State.FAILED, State.COMPUTING)) {
            compute(prompt, i);
            return;
          }
          break;
        case READING:
          if (!claims.mayOvertake(i)) {
            states.awaitChange(i, state, Long.MAX_VALUE);
          } else if (!worthWaiting(prompt, i, state)
              && states.move(i, State.READING, State.COMPUTING)) {
            compute(prompt, i);
            return;
          }
          break;
        case READY:
          // The copy to the device has begun; it ends.
          states.awaitChange(i, state, Long.MAX_VALUE);
          break;
        case COMPUTING:
          Check.that(false, "Chunk %d is computed by somebody else", i);
          break;
      }
    }
  }

  /** Takes all chunks from the loader, which must not write to the cache any more. */
  private static void abandon(ChunkStates states) {
    for (int i = 0; i < states.size(); i++) {
      while (states.of(i) == State.EMPTY
          || states.of(i) == State.READING
          || states.of(i) == State.READY) {
        if (!states.move(i, State.EMPTY, State.COMPUTING)
            && !states.move(i, State.READING, State.COMPUTING)) {
          Thread.onSpinWait();
        }
      }
    }
  }

  /** Whether a chunk that nobody has is better loaded; waits for that if so. */
  private boolean leftToLoader(Prompt prompt, int i, Claims claims) {
    if (prompt.stored[i] == null || !claims.mayLoad(i)) {
      return false;
    }
    if (!claims.mayCompute(i)) {
      prompt.states.awaitChange(i, State.EMPTY, Long.MAX_VALUE);
      return true;
    }
    int left = 0;
    for (int c = i; c < prompt.states.size(); c++) {
      boolean open = prompt.states.of(c) == State.EMPTY || prompt.states.of(c) == State.READING;
      left += open && prompt.stored[c] != null ? 1 : 0;
    }
    return pace.loadsBeforeComputing(left) && worthWaiting(prompt, i, State.EMPTY);
  }

  /**
   * Waits for a change where that is expected to be faster than computing. All waits of a prompt
   * together cost at most the time of computing one chunk, should the expectation be wrong.
   */
  private boolean worthWaiting(Prompt prompt, int i, State state) {
    if (pace.compute() == 0 || pace.read() > pace.compute() || prompt.patienceNanos < 0) {
      return false;
    }
    if (prompt.patienceNanos == 0) {
      prompt.patienceNanos = (long) pace.compute();
    }
    long begun = System.nanoTime();
    prompt.states.awaitChange(i, state, prompt.patienceNanos);
    long left = prompt.patienceNanos - (System.nanoTime() - begun);
    prompt.patienceNanos = left == 0 ? -1 : left;
    return prompt.states.of(i) != state;
  }

  private void compute(Prompt prompt, int i) {
    int chunk = layout.chunkTokens();
    long begun = System.nanoTime();
    model.prefill(prompt.tokens, i * chunk, chunk, cache, null);
    backend.synchronize();
    pace.computed(System.nanoTime() - begun);
    prompt.computed[i] = true;
    Check.that(
        prompt.states.move(i, State.COMPUTING, State.DONE), "Chunk %d was taken while computed", i);
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

  /** Logits and last hidden state on the host. */
  private static final class Output implements AutoCloseable {
    private final DecoderModel model;
    private final Backend backend;
    private final Tensor hiddenRow;
    private final Tensor logitsRow;
    private final ByteBuffer host;
    private final float[] hidden;
    private final float[] logits;

    Output(DecoderModel model) {
      this.model = model;
      backend = model.backend();
      int vocab = model.config().vocab();
      int width = model.config().hidden();
      hiddenRow = backend.allocate(DType.F32, Shape.of(1, width));
      logitsRow = backend.allocate(DType.F32, Shape.of(1, vocab));
      host =
          ByteBuffer.allocateDirect(Math.max(vocab, width) * Float.BYTES)
              .order(ByteOrder.LITTLE_ENDIAN);
      hidden = new float[width];
      logits = new float[vocab];
    }

    void compute(int[] tokens, int from, KvCache cache) {
      model.prefill(tokens, from, tokens.length - from, cache, hiddenRow);
      model.logits(logitsRow, hiddenRow);
      read(logitsRow, logits);
      read(hiddenRow, hidden);
    }

    /** Leaves the prompt's logits and state as they are. */
    double score(int[] prompt, int[] continuation, KvCache cache) {
      int[] all = Arrays.copyOf(prompt, prompt.length + continuation.length);
      System.arraycopy(continuation, 0, all, prompt.length, continuation.length);
      double sum = LogProbabilities.of(logits, continuation[0]);
      float[] row = new float[logits.length];
      for (int i = 1; i < continuation.length; i++) {
        model.prefill(all, prompt.length + i - 1, 1, cache, hiddenRow);
        model.logits(logitsRow, hiddenRow);
        read(logitsRow, row);
        sum += LogProbabilities.of(row, continuation[i]);
      }
      return sum;
    }

    private void read(Tensor from, float[] to) {
      ByteBuffer bytes = host.clear().limit(to.length * Float.BYTES);
      backend.read(bytes.duplicate().order(ByteOrder.LITTLE_ENDIAN), from);
      host.asFloatBuffer().get(to);
    }

    float[] logits() {
      return logits;
    }

    float[] hidden() {
      return hidden;
    }

    @Override
    public void close() {
      hiddenRow.close();
      logitsRow.close();
    }
  }
}
