package org.mixedgpu.cake.prefill;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.base.Check;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.store.KvStore;
import org.mixedgpu.cake.store.StoredChunk;
import org.mixedgpu.nn.KvCache;

/**
 * What the loads of one prompt after the other need: readers, each a thread with a host buffer of a
 * chunk, and the way into one KV cache. There are none before the first prompt with something to
 * load: devices have few lanes, and tasks that only compute can be many. A read that was overtaken
 * keeps its reader until the store lets it go; the next prompt's reads have the others meanwhile.
 */
final class BackLoader implements AutoCloseable {
  private static final System.Logger LOG = System.getLogger(BackLoader.class.getName());

  private final Backend backend;
  private final KvCache cache;
  private final KvStore store;
  private final IoRate rate;
  private final ComputePace computePace;
  private final LinkPace linkPace = new LinkPace();
  private final ExecutorService readers;
  private final BlockingQueue<ByteBuffer> free;

  /** Null before the first prompt with something to load. */
  private Lane copies;

  private volatile Walk walk;

  BackLoader(
      Backend backend,
      KvCache cache,
      KvStore store,
      IoRate rate,
      ComputePace computePace,
      int readsInFlight) {
    Check.input(readsInFlight >= 1, "A loader needs 1 read in flight; found %d", readsInFlight);
    this.backend = backend;
    this.cache = cache;
    this.store = store;
    this.rate = rate;
    this.computePace = computePace;
    free = new ArrayBlockingQueue<>(readsInFlight);
    readers =
        Executors.newFixedThreadPool(
            readsInFlight,
            work -> {
              Thread thread = new Thread(work, "kv-load");
              thread.setDaemon(true);
              return thread;
            });
  }

  /** Readers see what is set here: their work is submitted later. */
  private void open() {
    if (copies == null) {
      while (free.remainingCapacity() > 0) {
        free.add(ByteBuffer.allocateDirect(store.bufferBytes()));
      }
      copies = backend.lane("kv-copy");
    }
  }

  KvStore store() {
    return store;
  }

  IoRate rate() {
    return rate;
  }

  ComputePace computePace() {
    return computePace;
  }

  LinkPace linkPace() {
    return linkPace;
  }

  /**
   * Begins to load the chunks from the last down to {@code first}; returns at once. The prompt
   * before must have ended.
   */
  Walk start(ChunkStates states, StoredChunk[] stored, int first, Claims claims) {
    if (Arrays.stream(stored, first, stored.length).anyMatch(Objects::nonNull)) {
      linkPace.prompt();
    }
    if (IntStream.range(first, stored.length)
        .anyMatch(i -> stored[i] != null && claims.mayLoad(i))) {
      open();
    }
    walk = new Walk(this, states, stored, first, claims);
    walk.pump();
    return walk;
  }

  /** The buffer of a reader that is free, or null. */
  ByteBuffer takeReader() {
    return free.poll();
  }

  void returnReader(ByteBuffer buffer) {
    free.add(buffer);
  }

  /** Runs a read on the reader of this buffer; then it is free, for the prompt that there is. */
  void submit(ByteBuffer buffer, Runnable read) {
    readers.execute(
        () -> {
          try {
            read.run();
          } finally {
            returnReader(buffer);
            walk.pump();
          }
        });
  }

  /** Null, or why the chunk is not in the cache; then its rows are undefined. */
  String copy(int chunk, ByteBuffer payload) {
    RuntimeException[] failure = new RuntimeException[1];
    copies.submit(
        () -> {
          try {
            copyBlocks(chunk, payload);
          } catch (RuntimeException e) {
            // Thrown on, it would end the lane for all later prompts.
            failure[0] = e;
          }
        });
    copies.record().synchronize();
    return failure[0] == null ? null : "UNREADABLE: " + failure[0];
  }

  private void copyBlocks(int chunk, ByteBuffer payload) {
    KvLayout layout = store.layout();
    int tokens = layout.chunkTokens();
    int block = layout.blockBytes();
    for (int layer = 0; layer < cache.layers(); layer++) {
      backend.write(
          cache.keys(layer).rows((long) chunk * tokens, tokens),
          payload.slice(2 * layer * block, block));
      backend.write(
          cache.values(layer).rows((long) chunk * tokens, tokens),
          payload.slice((2 * layer + 1) * block, block));
    }
  }

  /** Waits for reads in flight: they use the store and, until overtaken, the cache. */
  @Override
  public void close() {
    readers.shutdownNow();
    try {
      if (!readers.awaitTermination(1, TimeUnit.MINUTES)) {
        LOG.log(
            System.Logger.Level.WARNING,
            "A read of the KV cache does not end; its thread and buffer are left behind");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    if (copies != null) {
      copies.close();
    }
  }
}
