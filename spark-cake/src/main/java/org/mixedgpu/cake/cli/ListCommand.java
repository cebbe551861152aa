package org.mixedgpu.cake.cli;

import java.io.PrintWriter;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.mixedgpu.cake.store.Bundles;
import org.mixedgpu.cake.store.StoredChunk;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** What a cache holds. */
@Command(
    name = "ls",
    mixinStandardHelpOptions = true,
    versionProvider = Cake.Version.class,
    sortOptions = false,
    description = {
      "Lists the bundles of a cache: chunks, tokens, bytes, path and what they were written for."
          + " Reads their indexes only."
    },
    footer = {"", "Example:", "  cake ls --keys hdfs:///cache/kv"})
final class ListCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;
  @Mixin private CacheFolder cache;

  @Option(
      names = "--keys",
      description =
          "Also every chunk: key, parent key, offset and length in bytes. Example: --keys")
  private boolean keys;

  @Override
  public Integer call() {
    PrintWriter out = spec.commandLine().getOut();
    List<Bundles.Bundle> bundles = Bundles.list(cache.files(), cache.path());
    long chunks = 0;
    long tokens = 0;
    long bytes = 0;
    for (Bundles.Bundle bundle : bundles) {
      print(out, bundle);
      chunks += bundle.chunks().size();
      tokens += bundle.tokens();
      bytes += bundle.bytes();
    }
    out.printf(
        Locale.ROOT,
        "%d bundles, %d chunks, %d tokens, %d bytes%n",
        bundles.size(),
        chunks,
        tokens,
        bytes);
    out.flush();
    return 0;
  }

  private void print(PrintWriter out, Bundles.Bundle bundle) {
    out.printf(
        Locale.ROOT,
        "%6d chunks %8d tokens %12d bytes  %s  %s%n",
        bundle.chunks().size(),
        bundle.tokens(),
        bundle.bytes(),
        bundle.path(),
        bundle.problem() == null ? bundle.layout() : "UNUSABLE: " + bundle.problem());
    if (keys) {
      for (StoredChunk chunk : bundle.chunks()) {
        out.printf(
            Locale.ROOT,
            "    %s after %s at %d, %d bytes%n",
            chunk.key().hex(),
            chunk.parent().hex(),
            chunk.offset(),
            chunk.length());
      }
    }
  }
}
