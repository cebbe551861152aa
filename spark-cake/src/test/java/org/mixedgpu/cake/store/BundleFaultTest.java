package org.mixedgpu.cake.store;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.mixedgpu.base.MixedGpuException;

class BundleFaultTest {
  private final MemoryFiles files = new MemoryFiles();
  private String path;
  private byte[] good;

  @BeforeEach
  void store() {
    TinyBundle.write(new BundleStore(files, "cache", TinyBundle.LAYOUT, 1 << 20));
    assertThat(files.contents).hasSize(1);
    path = files.contents.keySet().iterator().next();
    good = files.contents.get(path);
    assertThat(found()).isEqualTo(new Found(2, 2));
  }

  /** How many of the two chunks were proposed and how many loaded. */
  private record Found(int proposed, int loaded) {}

  /** Whatever comes out of the store must be what was written. */
  private Found found() {
    try (BundleStore store = new BundleStore(files, "cache", TinyBundle.LAYOUT, 1 << 20)) {
      CacheSnapshot snapshot = store.snapshot();
      StoredChunk[] chunks =
          snapshot.find(TinyBundle.LAYOUT, TinyBundle.KEYS, 2, TinyBundle.PROMPT);
      ByteBuffer buffer = TinyBundle.buffer(store);
      int proposed = 0;
      int loaded = 0;
      for (int i = 0; i < 2; i++) {
        if (chunks[i] == null) {
          assertThat(snapshot.problems()).hasSize(1);
          continue;
        }
        proposed++;
        assertThat(chunks[i].key()).isEqualTo(TinyBundle.KEYS[i]);
        assertThat(chunks[i].tokens())
            .isEqualTo(Arrays.copyOfRange(TinyBundle.PROMPT, 2 * i, 2 * i + 2));
        Load load = store.load(chunks[i], buffer);
        if (load.loaded()) {
          loaded++;
          assertThat(TinyBundle.bytes(load.payload())).isEqualTo(TinyBundle.payload(i));
        } else {
          assertThat(load.outcome()).isEqualTo(Load.Outcome.DAMAGED);
          assertThat(load.problem()).contains(path);
          assertThat(load.payload()).isNull();
        }
      }
      return new Found(proposed, loaded);
    }
  }

  @Test
  void everyFlippedBitIsAMissOrHarmlessAndVerifyFindsIt() {
    int harmless = 0;
    int damagedChunk = 0;
    int damagedIndex = 0;
    for (int bit = 0; bit < good.length * 8; bit++) {
      byte[] bad = good.clone();
      bad[bit / 8] ^= (byte) (1 << bit % 8);
      files.contents.put(path, bad);
      Found found = found();
      assertThat(Bundles.verify(files, path).map(Bundles.Problem::damaged))
          .as("bit %d", bit)
          .contains(true);
      if (found.loaded() == 2) {
        harmless++;
      } else if (found.proposed() == 2) {
        assertThat(found.loaded()).isEqualTo(1);
        damagedChunk++;
      } else {
        assertThat(found.proposed()).isZero();
        damagedIndex++;
      }
    }
    // Only Arrow's head, which the store doesn't read, may change unnoticed by a lookup.
    files.contents.put(path, good);
    assertThat(harmless)
        .isEqualTo(
            8 * Math.toIntExact(Bundles.list(files, "cache").get(0).chunks().get(0).offset()));
    assertThat(damagedChunk).isPositive();
    assertThat(damagedIndex).isPositive();
    assertThat(harmless + damagedChunk + damagedIndex).isEqualTo(8 * good.length);
  }

  @Test
  void aFileCutAtAnyLengthIsAMiss() {
    for (int length = 0; length < good.length; length++) {
      files.contents.put(path, Arrays.copyOf(good, length));
      assertThat(found()).isEqualTo(new Found(0, 0));
      assertThat(Bundles.verify(files, path).map(Bundles.Problem::damaged)).contains(true);
    }
  }

  /** A store that is away for a while must not cost what it has. */
  @Test
  void whatCannotBeReadIsNotCalledDamaged() {
    files.failingReads.set(1);
    assertThat(Bundles.verify(files, path))
        .hasValueSatisfying(
            problem -> {
              assertThat(problem.damaged()).isFalse();
              assertThat(problem.text()).contains("injected: read");
            });
    assertThat(Bundles.verify(files, path)).isEmpty();
  }

  @Test
  void bytesAppendedAreAMiss() {
    files.contents.put(path, Arrays.copyOf(good, good.length + 1));
    assertThat(found()).isEqualTo(new Found(0, 0));
  }

  @Test
  void aBundleThatVanishesAfterTheSnapshotIsMissing() {
    try (BundleStore store = new BundleStore(files, "cache", TinyBundle.LAYOUT, 1 << 20)) {
      StoredChunk chunk =
          store.snapshot().find(TinyBundle.LAYOUT, TinyBundle.KEYS, 2, TinyBundle.PROMPT)[0];
      files.contents.clear();
      assertThat(store.load(chunk, TinyBundle.buffer(store)).outcome())
          .isEqualTo(Load.Outcome.MISSING);
    }
  }

  @Test
  void aFailedReadIsUnreadableAndTheNextOneWorks() {
    try (BundleStore store = new BundleStore(files, "cache", TinyBundle.LAYOUT, 1 << 20)) {
      StoredChunk chunk =
          store.snapshot().find(TinyBundle.LAYOUT, TinyBundle.KEYS, 2, TinyBundle.PROMPT)[0];
      ByteBuffer buffer = TinyBundle.buffer(store);
      files.failingReads.set(1);
      Load load = store.load(chunk, buffer);
      assertThat(load.outcome()).isEqualTo(Load.Outcome.UNREADABLE);
      assertThat(load.problem()).isEqualTo("injected: read");
      assertThat(files.failingReads.get()).isZero();
      assertThat(store.load(chunk, buffer).loaded()).isTrue();
    }
  }

  @Test
  void aFullDiskLeavesNothingBehind() {
    int failed = 0;
    for (int writes = 0; ; writes++) {
      MemoryFiles full = new MemoryFiles();
      full.writesLeft = writes;
      BundleStore store = new BundleStore(full, "cache", TinyBundle.LAYOUT, 1 << 20);
      try {
        TinyBundle.write(store);
      } catch (MixedGpuException e) {
        assertThat(e).hasMessage("injected: disk full");
        assertThat(full.contents).isEmpty();
        failed++;
        continue;
      }
      assertThat(full.contents).hasSize(1);
      assertThat(failed).as("writes that could fail").isGreaterThan(10);
      return;
    }
  }

  /** The checksum is right in these: somebody wrote nonsense, and no memory may go to it. */
  @Test
  void impossibleNumbersInAnIndexAreRefusedBeforeUse() {
    int indexAt = indexAt();
    int[] fields = {8, 44, 48, 52, 60};
    for (int field : fields) {
      for (int value : new int[] {-1, 0, Integer.MAX_VALUE, Integer.MIN_VALUE, 1 << 29}) {
        ByteBuffer bad = ByteBuffer.wrap(good.clone()).order(ByteOrder.LITTLE_ENDIAN);
        if (bad.getInt(indexAt + field) == value) {
          continue;
        }
        bad.putInt(indexAt + field, value);
        reseal(bad, indexAt);
        files.contents.put(path, bad.array());
        assertThat(found()).as("field %d = %d", field, value).isEqualTo(new Found(0, 0));
      }
    }
    int entries = indexAt + 64 + good64(indexAt + 60) + 4;
    for (int field : new int[] {64, 68, 72, 76}) {
      for (int value : new int[] {-1, Integer.MAX_VALUE, Integer.MIN_VALUE, 1 << 29}) {
        ByteBuffer bad = ByteBuffer.wrap(good.clone()).order(ByteOrder.LITTLE_ENDIAN);
        bad.putInt(entries + field, value);
        reseal(bad, indexAt);
        files.contents.put(path, bad.array());
        assertThat(found()).as("entry field %d = %d", field, value).isEqualTo(new Found(0, 0));
      }
    }
    // The same treatment without a change is accepted: the refusals above had the right cause.
    ByteBuffer same = ByteBuffer.wrap(good.clone()).order(ByteOrder.LITTLE_ENDIAN);
    reseal(same, indexAt);
    files.contents.put(path, same.array());
    assertThat(found()).isEqualTo(new Found(2, 2));
  }

  private int good64(int at) {
    return ByteBuffer.wrap(good).order(ByteOrder.LITTLE_ENDIAN).getInt(at);
  }

  private int indexAt() {
    ByteBuffer in = ByteBuffer.wrap(good).order(ByteOrder.LITTLE_ENDIAN);
    int footerAt = good.length - 10 - in.getInt(good.length - 10);
    return footerAt - 16 - in.getInt(footerAt - 12);
  }

  private void reseal(ByteBuffer bad, int indexAt) {
    int footerAt = good.length - 10 - bad.getInt(good.length - 10);
    CRC32C crc = new CRC32C();
    crc.update(bad.array(), indexAt, footerAt - 16 - indexAt);
    crc.update(bad.array(), footerAt - 12, good.length - footerAt + 12);
    bad.putInt(footerAt - 16, (int) crc.getValue());
  }
}
