package org.mixedgpu.cake.prefill;

import java.nio.ByteBuffer;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BiFunction;
import java.util.function.BooleanSupplier;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.store.CacheSnapshot;
import org.mixedgpu.cake.store.ChunkWriter;
import org.mixedgpu.cake.store.KvStore;
import org.mixedgpu.cake.store.Load;
import org.mixedgpu.cake.store.StoredChunk;

/** A store whose loads do what a test wants. */
final class TrickStore implements KvStore {
  final KvStore store;
  BiFunction<StoredChunk, ByteBuffer, Load> loads;

  /** By chunk that a load was asked for: whether it is still wanted. */
  final Map<StoredChunk, BooleanSupplier> wanted = new ConcurrentHashMap<>();

  TrickStore(KvStore store) {
    this.store = store;
    this.loads = store::load;
  }

  @Override
  public KvLayout layout() {
    return store.layout();
  }

  @Override
  public CacheSnapshot snapshot() {
    return store.snapshot();
  }

  @Override
  public int bufferBytes() {
    return store.bufferBytes();
  }

  @Override
  public Load load(StoredChunk chunk, ByteBuffer into, BooleanSupplier wanted) {
    this.wanted.put(chunk, wanted);
    return loads.apply(chunk, into);
  }

  @Override
  public ChunkWriter writer() {
    return store.writer();
  }

  @Override
  public void close() {
    store.close();
  }
}
