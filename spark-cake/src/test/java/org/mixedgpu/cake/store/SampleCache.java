package org.mixedgpu.cake.store;

import org.mixedgpu.io.FileStore;

/** A cache with the one bundle of FORMAT.md. */
public final class SampleCache {
  private SampleCache() {}

  public static void write(FileStore files, String cachePath) {
    try (BundleStore store = new BundleStore(files, cachePath, TinyBundle.LAYOUT, 1 << 20)) {
      TinyBundle.write(store);
    }
  }
}
