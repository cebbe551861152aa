package org.mixedgpu.cake.prefill;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.mixedgpu.base.Check;
import org.mixedgpu.cake.plan.RaceFacts;
import org.mixedgpu.cake.prefill.ChunkStates.State;
import org.mixedgpu.cake.store.Load;
import org.mixedgpu.cake.store.StoredChunk;

/**
 * One prompt's loads, from its back to its front. Which begin is decided anew whenever something
 * has happened: a read has ended, or the compute side has come to its next chunk. A read that the
 * compute side overtakes is abandoned: it counts no more, the link is told, and its bytes go
 * nowhere.
 */
final class Walk {
  private final BackLoader loader;
  private final ChunkStates states;
  private final StoredChunk[] stored;
  private final Claims claims;
  private final int first;
  private final List<Read> reads = new ArrayList<>();
  private final List<String> problems = new ArrayList<>();
  private final AtomicInteger loaded = new AtomicInteger();
  private int overtaken;
  private int next;
  private int front;
  private long frontSince = System.nanoTime();
  private boolean frontWaits;
  private long linkSince;

  /** One read in flight. */
  private static final class Read {
    final int chunk;
    final IoRate.Turn turn;
    final long begun = System.nanoTime();
    boolean alone;
    volatile boolean wanted = true;

    Read(int chunk, IoRate.Turn turn, boolean alone) {
      this.chunk = chunk;
      this.turn = turn;
      this.alone = alone;
    }
  }

  /**
   * @param stored by chunk, null where nothing is stored
   * @param first the front-most chunk that may be read
   */
  Walk(BackLoader loader, ChunkStates states, StoredChunk[] stored, int first, Claims claims) {
    this.loader = loader;
    this.states = states;
    this.stored = stored;
    this.claims = claims;
    this.first = first;
    this.front = first;
    this.next = stored.length - 1;
  }

  /** Tells where the compute side is. */
  void frontAt(int chunk, boolean waits) {
    synchronized (this) {
      front = chunk;
      frontSince = System.nanoTime();
      frontWaits = waits;
    }
    pump();
  }

  /**
   * @param patience nanoseconds that the compute side may still wait
   */
  synchronized RaceFacts facts(double patience) {
    long now = System.nanoTime();
    return new RaceFacts(
        loader.computePace().cost(),
        loader.linkPace().cost(),
        front,
        now - frontSince,
        frontWaits,
        reads.size(),
        reads.isEmpty() ? 0 : now - linkSince,
        patience);
  }

  /** Begins the reads that should begin now. */
  synchronized void pump() {
    while (next >= first) {
      int chunk = next;
      if (stored[chunk] != null && claims.mayLoad(chunk) && states.of(chunk) == State.EMPTY) {
        if (claims.mayCompute(chunk) && !claims.begins(facts(0), chunk)) {
          return;
        }
        ByteBuffer buffer = loader.takeReader();
        if (buffer == null) {
          return;
        }
        if (states.move(chunk, State.EMPTY, State.READING)) {
          begin(chunk, buffer);
        } else {
          loader.returnReader(buffer);
        }
      }
      next--;
    }
  }

  private void begin(int chunk, ByteBuffer buffer) {
    boolean alone = reads.isEmpty();
    Read read = new Read(chunk, loader.rate().begin(stored[chunk].length()), alone);
    if (alone) {
      linkSince = read.begun;
    }
    reads.forEach(other -> other.alone = false);
    reads.add(read);
    loader.submit(buffer, () -> read(read, buffer));
  }

  private void read(Read read, ByteBuffer buffer) {
    String problem = null;
    try {
      Load load = loader.store().load(stored[read.chunk], buffer, () -> read.wanted);
      if (load.loaded()) {
        loader.rate().finish(read.turn);
        if (states.move(read.chunk, State.READING, State.READY)) {
          problem = loader.copy(read.chunk, load.payload());
          if (problem == null) {
            ended(read, true);
            loaded.incrementAndGet();
            states.move(read.chunk, State.READY, State.DONE);
          }
        }
      } else if (load.outcome() != Load.Outcome.ABANDONED) {
        problem = load.outcome() + ": " + load.problem();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      problem = "UNREADABLE: interrupted";
    } catch (RuntimeException | Error e) {
      // Errors too: who waits for the chunk must hear that there is no memory for it.
      problem = "UNREADABLE: " + e;
    }
    if (problem != null) {
      fail(read, problem);
    }
  }

  private void fail(Read read, String problem) {
    synchronized (this) {
      problems.add("chunk " + read.chunk + " " + problem);
    }
    ended(read, false);
    // If the compute side has overtaken this read, nothing is left to hand over.
    boolean handedOver =
        states.move(read.chunk, State.READING, State.FAILED)
            || states.move(read.chunk, State.READY, State.FAILED);
    State state = states.of(read.chunk);
    Check.that(
        handedOver || state == State.COMPUTING || state == State.DONE,
        "Chunk %d failed in state %s",
        read.chunk,
        state);
  }

  private synchronized void ended(Read read, boolean measured) {
    if (!reads.remove(read)) {
      return;
    }
    long now = System.nanoTime();
    if (measured) {
      loader.linkPace().read(now - linkSince);
      if (read.alone) {
        loader.linkPace().readAlone(now - read.begun);
      }
    } else {
      loader.rate().giveUp(read.turn);
    }
    linkSince = now;
  }

  /** The compute side has taken a chunk that was being read. */
  void overtake(int chunk) {
    synchronized (this) {
      for (Read read : reads) {
        if (read.chunk == chunk) {
          long now = System.nanoTime();
          read.wanted = false;
          loader.rate().giveUp(read.turn);
          loader.linkPace().overtaken(now - linkSince);
          linkSince = now;
          overtaken++;
          reads.remove(read);
          break;
        }
      }
    }
  }

  /** Chunks loaded so far. */
  int loaded() {
    return loaded.get();
  }

  /** Reads overtaken so far. */
  synchronized int overtaken() {
    return overtaken;
  }

  /** What went wrong so far, one line each. */
  synchronized List<String> problems() {
    return List.copyOf(problems);
  }
}
