package org.mixedgpu.cake.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.cake.prefill.TinyFolder;
import org.mixedgpu.cake.prefill.TinyModel;
import org.mixedgpu.io.HadoopFileStore;
import picocli.CommandLine;

/** What {@code cake prefill} says when its work cannot begin, or gives nothing. */
class PrefillCommandIT {
  @TempDir Path folder;

  @Test
  void anInputThatIsNotThereIsNamedInOneLine() {
    StringWriter err = new StringWriter();
    CommandLine line = Cake.commandLine();
    line.setErr(new PrintWriter(err));
    Path input = folder.resolve("none.json");
    int code =
        line.execute(
            "prefill",
            "--input=" + input,
            "--format=json",
            "--model-path=" + folder,
            "--output=" + folder.resolve("answers"),
            "--conf=spark.master=local[1]",
            "--conf=spark.ui.enabled=false");
    assertThat(code).isEqualTo(1);
    assertThat(err.toString()).startsWith("MISSING: Cannot read " + input + ": ").hasLineCount(1);
  }

  /** JSON has no fields that are null in all rows, nor any without rows. */
  @ParameterizedTest
  @CsvSource({"too long for this model, 1, 1", "'', 0, 0"})
  void answersWithoutANumberAreSummedUpToo(String text, int rows, int expected) throws IOException {
    StringWriter out = new StringWriter();
    CommandLine line = Cake.commandLine();
    line.setOut(new PrintWriter(out));
    TinyFolder.write(
        HadoopFileStore.ofDefaults(), folder.resolve("model").toString(), TinyModel.sparse(), 3);
    Path input = Files.writeString(folder.resolve("prompts.txt"), text);
    int code =
        line.execute(
            "prefill",
            "--input=" + input,
            "--model-path=" + folder.resolve("model"),
            "--output=" + folder.resolve("answers"),
            "--output-format=json",
            "--max-prompt-tokens=8",
            "--conf=spark.master=local[1]",
            "--conf=spark.ui.enabled=false");
    assertThat(out.toString()).contains("rows " + rows + ", answered 0, bad " + rows);
    assertThat(code).isEqualTo(expected);
  }
}
