package org.mixedgpu.cake.prefill;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.base.Check;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.prefill.ChunkStates.State;
import org.mixedgpu.cake.store.KvStore;
import org.mixedgpu.cake.store.Load;
import org.mixedgpu.cake.store.StoredChunk;
import org.mixedgpu.nn.KvCache;

/**
 * Loads chunks of one prompt after the other, each from its back to its front, with a bounded
 * number of reads in flight, into one KV cache. Memory: one host buffer for each read in flight.
 */
final class BackLoader implements AutoCloseable {
  private static final System.Logger LOG = System.getLogger(BackLoader.class.getName());

  private final Backend backend;
  private final KvCache cache;
  private final KvStore store;
  private final IoRate rate;
  private final Pace pace;
  private final int readsInFlight;
  private final ExecutorService readers;
  private final BlockingQueue<ByteBuffer> buffers;
  private final Lane copies;

  BackLoader(
      Backend backend, KvCache cache, KvStore store, IoRate rate, Pace pace, int readsInFlight) {
    Check.input(readsInFlight >= 1, "A loader needs 1 read in flight; found %d", readsInFlight);
    this.backend = backend;
    this.cache = cache;
    this.store = store;
    this.rate = rate;
    this.pace = pace;
    this.readsInFlight = readsInFlight;
    buffers = new ArrayBlockingQueue<>(readsInFlight);
    readers =
        Executors.newFixedThreadPool(
            readsInFlight,
            work -> {
              Thread thread = new Thread(work, "kv-load");
              thread.setDaemon(true);
              return thread;
            });
    for (int i = 0; i < readsInFlight; i++) {
      buffers.add(ByteBuffer.allocateDirect(store.bufferBytes()));
    }
    copies = backend.lane("kv-copy");
  }

  /** One prompt's loads. */
  final class Walk {
    private final ChunkStates states;
    private final StoredChunk[] stored;
    private final Claims claims;
    private final int first;
    private final AtomicInteger next;
    private final AtomicLong lastEnd = new AtomicLong(System.nanoTime());
    private final List<String> problems = new ArrayList<>();
    private final AtomicInteger loaded = new AtomicInteger();

    private Walk(ChunkStates states, StoredChunk[] stored, int first, Claims claims) {
      this.states = states;
      this.stored = stored;
      this.claims = claims;
      this.first = first;
      this.next = new AtomicInteger(stored.length - 1);
    }

    private void run() {
      for (int chunk = next.getAndDecrement(); chunk >= first; chunk = next.getAndDecrement()) {
        if (stored[chunk] != null
            && claims.mayLoad(chunk)
            && states.move(chunk, State.EMPTY, State.READING)) {
          read(chunk);
        }
      }
    }

    private void read(int chunk) {
      ByteBuffer buffer = null;
      String problem = null;
      try {
        buffer = buffers.take();
        long begun = System.nanoTime();
        long linkEnd = rate.begin(stored[chunk].length());
        Load load = store.load(stored[chunk], buffer);
        rate.finish(linkEnd);
        if (!load.loaded()) {
          problem = load.outcome() + ": " + load.problem();
        } else if (states.move(chunk, State.READING, State.READY)) {
          problem = copy(chunk, load.payload());
          if (problem == null) {
            long now = System.nanoTime();
            pace.read(now - begun, now - lastEnd.getAndSet(now));
            loaded.incrementAndGet();
            states.move(chunk, State.READY, State.DONE);
          }
        }
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        problem = "UNREADABLE: interrupted";
      } catch (RuntimeException e) {
        problem = "UNREADABLE: " + e;
      } finally {
        if (buffer != null) {
          buffers.add(buffer);
        }
      }
      if (problem != null) {
        fail(chunk, problem);
      }
    }

    private void fail(int chunk, String problem) {
      synchronized (problems) {
        problems.add("chunk " + chunk + " " + problem);
      }
      // If the compute side has overtaken this read, nothing is left to hand over.
      boolean handedOver =
          states.move(chunk, State.READING, State.FAILED)
              || states.move(chunk, State.READY, State.FAILED);
      Check.that(
          handedOver || states.of(chunk) == State.COMPUTING || states.of(chunk) == State.DONE,
          "Chunk %d failed in state %s",
          chunk,
          states.of(chunk));
    }

    /** Chunks loaded so far. */
    int loaded() {
      return loaded.get();
    }

    /** What went wrong so far, one line each. */
    List<String> problems() {
      synchronized (problems) {
        return List.copyOf(problems);
      }
    }
  }

  /** Begins to load the chunks from the last down to {@code first}; returns at once. */
  Walk start(ChunkStates states, StoredChunk[] stored, int first, Claims claims) {
    Walk walk = new Walk(states, stored, first, claims);
    for (int i = 0; i < Math.min(readsInFlight, stored.length - first); i++) {
      readers.execute(walk::run);
    }
    return walk;
  }

  /** Null, or why the chunk is not in the cache; then its rows are undefined. */
  private String copy(int chunk, ByteBuffer payload) {
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
    copies.close();
  }
}
