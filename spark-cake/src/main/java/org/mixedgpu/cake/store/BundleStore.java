package org.mixedgpu.cake.store;

import java.nio.ByteBuffer;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.zip.CRC32C;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.key.PrefixKey;
import org.mixedgpu.io.FileEntry;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.RangeReader;

/**
 * Bundles in one folder, {@code CACHE/ROOT-NAME.kv.arrow} with the first 16 digits of the layout's
 * root key, on any file system that the file store knows. There is no manifest: the bundles'
 * indexes are the truth, and are read again only when a file is new. Memory: the indexes (about 100
 * bytes and 4 per token for each chunk), and one chunk for each writer.
 */
public final class BundleStore implements KvStore {
  static final String SUFFIX = ".kv.arrow";
  private static final int ROOT_DIGITS = 16;
  private static final int FIRST_DIGITS = 16;

  /**
   * A read that nobody wants any more ends after this many bytes. Streams can't be told to stop:
   * closing one does not end a positional read, and an interrupt breaks the handle of a local file
   * for all its readers. Large enough that a request to a DataNode costs little beside it.
   */
  static final int PART_BYTES = 4 << 20;

  private final FileStore files;
  private final String cachePath;
  private final String prefix;
  private final KvLayout layout;
  private final PrefixKey root;
  private final long bundleBytes;
  private final Map<FileEntry, Indexed> indexes = new ConcurrentHashMap<>();
  private final OpenBundles open;

  /**
   * @param cachePath folder of the whole cache
   * @param bundleBytes a bundle that reaches this size is published and the next begun
   */
  public BundleStore(FileStore files, String cachePath, KvLayout layout, long bundleBytes) {
    Check.input(bundleBytes > 0, "bundleBytes must be positive; found %d", bundleBytes);
    this.files = files;
    this.open = new OpenBundles(files);
    this.layout = layout;
    this.root = PrefixKey.root(layout);
    this.cachePath = cachePath;
    this.prefix = root.hex().substring(0, ROOT_DIGITS) + "-";
    this.bundleBytes = bundleBytes;
  }

  @Override
  public KvLayout layout() {
    return layout;
  }

  /**
   * Where two bundles have the same key their bytes are the same too, unless one is damaged: the
   * newer wins, because it was written by somebody who could not use the older.
   */
  @Override
  public CacheSnapshot snapshot() {
    List<FileEntry> bundles =
        list(prefix)
            .sorted(
                Comparator.comparingLong(FileEntry::modifiedMillis).thenComparing(FileEntry::name))
            .collect(Collectors.toList());
    indexes.keySet().retainAll(new HashSet<>(bundles));
    bundles.parallelStream().forEach(f -> indexes.computeIfAbsent(f, this::index));
    Map<PrefixKey, StoredChunk> chunks = new HashMap<>();
    List<String> problems =
        bundles.stream()
            .map(f -> indexes.get(f).problem())
            .filter(p -> p != null)
            .collect(Collectors.toList());
    for (FileEntry bundle : bundles) {
      for (StoredChunk chunk : indexes.get(bundle).chunks()) {
        chunks.put(chunk.key(), chunk);
      }
    }
    return new CacheSnapshot(chunks, problems);
  }

  private Stream<FileEntry> list(String begin) {
    return files.list(cachePath).stream()
        .filter(f -> f.name().startsWith(begin) && f.name().endsWith(SUFFIX));
  }

  private record Indexed(List<StoredChunk> chunks, String problem) {}

  private Indexed index(FileEntry bundle) {
    try (RangeReader file = files.open(bundle.path())) {
      BundleIndex index = BundleIndex.read(file);
      Check.intact(
          index.root().equals(root)
              && index.chunkTokens() == layout.chunkTokens()
              && index.chunkBytes() == layout.chunkBytes(),
          "%s belongs to another layout (%s)",
          bundle.path(),
          index.description());
      return new Indexed(index.chunks(), null);
    } catch (RuntimeException e) {
      return new Indexed(List.of(), reason(e));
    }
  }

  @Override
  public int bufferBytes() {
    return BundleIndex.maxMessageBytes(layout.chunkTokens(), layout.chunkBytes());
  }

  @Override
  public Load load(StoredChunk chunk, ByteBuffer into, BooleanSupplier wanted) {
    try {
      return read(chunk, into, wanted);
    } catch (MixedGpuException e) {
      // The handle may be the trouble (a replaced file, a dead node): the next load opens anew.
      open.forget(chunk.bundle());
      return switch (e.fault()) {
        case MISSING -> Load.miss(Load.Outcome.MISSING, reason(e));
        case CORRUPT -> Load.miss(Load.Outcome.DAMAGED, reason(e));
        case BAD_INPUT, EXHAUSTED, UNKNOWN_OUTCOME, BUG ->
            Load.miss(Load.Outcome.UNREADABLE, reason(e));
      };
    } catch (RuntimeException e) {
      open.forget(chunk.bundle());
      return Load.miss(Load.Outcome.UNREADABLE, reason(e));
    }
  }

  private Load read(StoredChunk chunk, ByteBuffer into, BooleanSupplier wanted) {
    Check.that(
        into.capacity() >= bufferBytes() && chunk.length() <= bufferBytes(),
        "A load of %d bytes got a buffer of %d",
        chunk.length(),
        into.capacity());
    into.clear();
    for (int at = 0; at < chunk.length(); at += PART_BYTES) {
      if (!wanted.getAsBoolean()) {
        return Load.miss(Load.Outcome.ABANDONED, "nobody wants it any more");
      }
      into.limit(Math.min(at + PART_BYTES, chunk.length())).position(at);
      open.readFully(chunk.bundle(), chunk.offset() + at, into);
    }
    into.flip();
    CRC32C crc = new CRC32C();
    crc.update(into.duplicate());
    Check.intact(
        (int) crc.getValue() == chunk.crc(),
        "%s: the checksum of the chunk at %d does not match",
        chunk.bundle(),
        chunk.offset());
    return Load.of(into.slice(chunk.payloadOffset(), layout.chunkBytes()));
  }

  @Override
  public void close() {
    open.close();
  }

  @Override
  public ChunkWriter writer() {
    return new Writer();
  }

  private static String reason(RuntimeException e) {
    return e.getMessage() == null ? e.toString() : e.getMessage();
  }

  private final class Writer implements ChunkWriter {
    private final Set<PrefixKey> written = new HashSet<>();
    private final Set<PrefixKey> published = new HashSet<>();
    private BundleWriter bundle;
    private long finishedBytes;

    /** Whoever did the same work before began a bundle with the same chunk, and so its name. */
    @Override
    public boolean isPublished(PrefixKey key) {
      if (bundle == null && !written.contains(key) && !published.contains(key)) {
        list(names(key))
            .flatMap(f -> index(f).chunks().stream())
            .forEach(chunk -> published.add(chunk.key()));
      }
      return published.contains(key);
    }

    private String names(PrefixKey first) {
      return prefix + first.hex().substring(0, FIRST_DIGITS) + "-";
    }

    @Override
    public boolean append(
        PrefixKey key, PrefixKey parent, int[] tokens, Consumer<ByteBuffer> payload) {
      Check.that(
          tokens.length == layout.chunkTokens()
              && parent.child(tokens, 0, tokens.length).equals(key),
          "Key %s is not that of its %d tokens after %s",
          key,
          tokens.length,
          parent);
      if (!written.add(key)) {
        return false;
      }
      if (bundle == null) {
        String path = FileStore.in(cachePath, names(key) + UUID.randomUUID() + SUFFIX);
        bundle = new BundleWriter(layout, files.create(path));
      }
      bundle.append(key, parent, tokens, payload);
      if (bundle.bytes() >= bundleBytes) {
        finish();
      }
      return true;
    }

    @Override
    public long chunks() {
      return written.size();
    }

    @Override
    public long bytes() {
      return finishedBytes + (bundle == null ? 0 : bundle.bytes());
    }

    @Override
    public void finish() {
      if (bundle != null) {
        try (BundleWriter last = bundle) {
          bundle = null;
          Check.that(last.publish(), "A bundle's random name was taken");
          finishedBytes += last.bytes();
        }
      }
    }

    @Override
    public void close() {
      if (bundle != null) {
        bundle.close();
        bundle = null;
      }
    }
  }
}
