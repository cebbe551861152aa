package org.mixedgpu.cake.cli;

import java.io.PrintWriter;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.mixedgpu.cake.store.Bundles;
import org.mixedgpu.io.FileStore;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Whether a cache is as it was written. */
@Command(
    name = "verify",
    mixinStandardHelpOptions = true,
    versionProvider = Cake.Version.class,
    sortOptions = false,
    description = {
      "Reads every byte of every bundle of a cache and compares checksums. Exit code 1 if a bundle"
          + " is damaged or can't be read. A damaged bundle never changes an answer; it costs the"
          + " time to compute it."
    },
    footer = {"", "Example:", "  cake verify --delete hdfs:///cache/kv"})
final class VerifyCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;
  @Mixin private CacheFolder cache;

  @Option(
      names = "--delete",
      description =
          "Delete damaged bundles, not those that can't be read; the exit code stays 1. Example:"
              + " --delete")
  private boolean delete;

  @Override
  public Integer call() {
    PrintWriter out = spec.commandLine().getOut();
    FileStore files = cache.files();
    List<Bundles.Bundle> bundles = Bundles.list(files, cache.path());
    int damaged = 0;
    int unreadable = 0;
    long bytes = 0;
    for (Bundles.Bundle bundle : bundles) {
      Optional<Bundles.Problem> problem = Bundles.verify(files, bundle.path());
      if (problem.isPresent() && problem.get().damaged()) {
        damaged++;
        boolean deleted = delete && files.delete(bundle.path());
        out.printf("DAMAGED%s %s%n", deleted ? " (deleted)" : "", problem.get().text());
      } else if (problem.isPresent()) {
        unreadable++;
        out.printf("UNREADABLE %s: %s%n", bundle.path(), problem.get().text());
      }
      bytes += bundle.bytes();
    }
    out.printf(
        Locale.ROOT,
        "%d bundles, %d bytes, %d damaged, %d could not be read%n",
        bundles.size(),
        bytes,
        damaged,
        unreadable);
    out.flush();
    return damaged + unreadable == 0 ? 0 : 1;
  }
}
