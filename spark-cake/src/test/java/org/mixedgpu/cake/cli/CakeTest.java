package org.mixedgpu.cake.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.cake.spark.CakeOption;
import org.mixedgpu.cake.spark.CakeOptions;
import org.mixedgpu.cake.store.SampleCache;
import org.mixedgpu.io.HadoopFileStore;
import picocli.CommandLine;

class CakeTest {
  private final StringWriter out = new StringWriter();
  private final StringWriter err = new StringWriter();

  @TempDir Path folder;

  private int run(String... args) {
    CommandLine line = Cake.commandLine();
    line.setOut(new PrintWriter(out));
    line.setErr(new PrintWriter(err));
    return line.execute(args);
  }

  @Test
  void helpNamesEveryCommandAndOptionWithUnitAndExample() {
    assertThat(run("--help")).isZero();
    assertThat(out.toString()).contains("prefill", "ls", "verify", "Exit codes", "Example");
    assertThat(run("prefill", "--help")).isZero();
    // Without blanks, for lines are broken anywhere.
    String text = out.toString().replaceAll("\\s+", "");
    for (CakeOption<?> option : CakeOptions.ALL) {
      assertThat(text).contains(option.flag() + "=");
      assertThat(text).contains("Example:" + option.example().replace(" ", "") + ".");
      if (!option.entry().unit().isEmpty()) {
        assertThat(text).contains("Unit:" + option.entry().unit().replace(" ", "") + ".");
      }
    }
    assertThat(run("ls", "--help") + run("verify", "--help")).isZero();
    assertThat(run("--version")).isZero();
    assertThat(out.toString()).contains("cake (from classes)");
  }

  @Test
  void aCommandThatIsNotUnderstoodIsCodeTwo() {
    assertThat(run("bake")).isEqualTo(2);
    assertThat(run("prefill", "--input", "x")).isEqualTo(2);
    assertThat(err.toString()).contains("--output").contains("--model-path");
    assertThat(run("prefill", "--input=x", "--output=y", "--model-path=z", "--chunk-tokens=many"))
        .isEqualTo(2);
    assertThat(err.toString()).contains("chunkTokens: 'many' can't be read");
  }

  @Test
  void aTableFormatThatIsNotKnownIsRefusedBeforeSparkStarts() {
    assertThat(run("prefill", "--input=x", "--output=y", "--model-path=z", "--format=xml"))
        .isEqualTo(1);
    assertThat(err.toString()).contains("BAD_INPUT: Input format 'xml' is not known");
  }

  @Test
  void listAndVerifyShowWhatIsThere() throws IOException {
    String cache = folder.toString();
    SampleCache.write(HadoopFileStore.ofDefaults(), cache);
    assertThat(run("ls", "--keys", cache)).isZero();
    assertThat(out.toString())
        .contains("2 chunks", "4 tokens", "type=F32", " after ", "1 bundles, 2 chunks, 4 tokens");
    assertThat(run("verify", cache)).isZero();
    assertThat(out.toString()).contains("0 damaged");

    Path bundle;
    try (Stream<Path> files = Files.list(folder)) {
      bundle = files.findFirst().orElseThrow();
    }
    byte[] bytes = Files.readAllBytes(bundle);
    bytes[bytes.length - 1] ^= 1;
    Files.write(bundle, bytes);
    assertThat(run("verify", cache)).isEqualTo(1);
    assertThat(out.toString()).contains("DAMAGED").contains("1 damaged");
    assertThat(run("ls", cache)).isZero();
    assertThat(out.toString()).contains("UNUSABLE");
    assertThat(run("verify", "--delete", cache)).isEqualTo(1);
    assertThat(bundle).doesNotExist();
    assertThat(run("verify", cache)).isZero();
    assertThat(run("ls", folder.resolve("nothing").toString())).isZero();
  }
}
