package org.mixedgpu.cake.store;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.key.PrefixKey;

/** The chunks that were stored at one time. Immutable; goes from the driver to the tasks. */
public final class CacheSnapshot implements Serializable {
  private static final long serialVersionUID = 1L;

  private final Map<PrefixKey, StoredChunk> chunks;
  private final List<String> problems;

  CacheSnapshot(Map<PrefixKey, StoredChunk> chunks, List<String> problems) {
    this.chunks = new HashMap<>(chunks);
    this.problems = new ArrayList<>(problems);
  }

  /** Nothing stored. */
  public static CacheSnapshot empty() {
    return new CacheSnapshot(Map.of(), List.of());
  }

  /** Number of chunks. */
  public int size() {
    return chunks.size();
  }

  /** Bundles that were left out, each with its path and the reason. */
  public List<String> problems() {
    return List.copyOf(problems);
  }

  /** Only the chunks that somebody will ask for: less to send to the tasks. */
  public CacheSnapshot only(Predicate<PrefixKey> wanted) {
    Map<PrefixKey, StoredChunk> some = new HashMap<>(chunks);
    some.keySet().removeIf(wanted.negate());
    return new CacheSnapshot(some, problems);
  }

  public boolean contains(PrefixKey key) {
    return chunks.containsKey(key);
  }

  /** 64-bit words of all keys, for the planner. */
  public long[] words() {
    return chunks.keySet().stream().mapToLong(PrefixKey::word).toArray();
  }

  /**
   * The stored chunks of a prompt: element i is null where its chunk i is not stored. Found by
   * hash, accepted by parent and token ids.
   *
   * @param keys the prompt's chain, of which the first {@code count} are looked up
   */
  public StoredChunk[] find(KvLayout layout, PrefixKey[] keys, int count, int[] prompt) {
    StoredChunk[] found = new StoredChunk[count];
    PrefixKey parent = PrefixKey.root(layout);
    for (int i = 0; i < count; i++) {
      StoredChunk chunk = chunks.get(keys[i]);
      if (chunk != null && chunk.holds(keys[i], parent, prompt, i * layout.chunkTokens())) {
        found[i] = chunk;
      }
      parent = keys[i];
    }
    return found;
  }
}
