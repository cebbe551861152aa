package org.mixedgpu.cake.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** What {@code cake prefill} says when its work cannot begin. */
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
}
