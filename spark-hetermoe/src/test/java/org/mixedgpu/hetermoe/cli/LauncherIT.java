package org.mixedgpu.hetermoe.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The script that users start, on the class path that the build wrote. */
class LauncherIT {
  private static final Path SCRIPT = Path.of("bin", "hetermoe").toAbsolutePath();

  @TempDir Path folder;

  private record Result(int exitCode, String output) {}

  @Test
  void trainsAndEvaluatesInOneJvm() throws Exception {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < 300; i++) {
      text.append("The number after ").append(i).append(" is ").append(i + 1).append(".\n");
    }
    Files.writeString(folder.resolve("text.txt"), text);
    Result trained =
        run(
            Map.of(),
            "train --input text.txt --model tiny-qwen3moe --output model --steps 4"
                + " --sequence-length 32 --batch-size 4 --expert-executors 2"
                + " --attention-resource gpu-ampere --expert-resource gpu-volta"
                + " --emulate catalogue --conf spark.ui.enabled=false");
    assertThat(trained.exitCode()).as(trained.output()).isZero();
    assertThat(trained.output())
        .contains("volta is emulated as V100-SXM2 behind A40")
        .contains("step 4/4: loss")
        .contains("Trained 4 steps");
    assertThat(folder.resolve("model/config.json")).exists();
    assertThat(Files.readAllLines(folder.resolve("model/training.jsonl"))).hasSize(4);

    Result scored =
        run(Map.of(), "evaluate --model model --input text.txt --conf spark.ui.enabled=false");
    assertThat(scored.exitCode()).as(scored.output()).isZero();
    assertThat(scored.output()).contains("rows 300, scored 300, left out 0", "perplexity ");

    Result again = run(Map.of(), "train --input text.txt --output model --steps 4");
    assertThat(again.exitCode()).isEqualTo(1);
    assertThat(again.output()).contains("BAD_INPUT: Output folder model is not empty");

    Result missing = run(Map.of(), "train --input none.txt --model tiny-mixtral --output other");
    assertThat(missing.exitCode()).isEqualTo(1);
    assertThat(missing.output())
        .contains("MISSING: Cannot read none.txt: ")
        .doesNotContain("AnalysisException.scala");
  }

  @Test
  void aMistakeIs2AndHelpIs0() throws Exception {
    assertThat(run(Map.of(), "train --nonsense").exitCode()).isEqualTo(2);
    Result help = run(Map.of(), "--help");
    assertThat(help.exitCode()).isZero();
    assertThat(help.output()).contains("train", "evaluate", "verify", "devices");
  }

  /** With SPARK_HOME the arguments go to its spark-submit, here one that shows them. */
  @Test
  void withASparkInstallationItsSubmitIsCalled() throws Exception {
    Path submit = folder.resolve("bin/spark-submit");
    Files.createDirectories(submit.getParent());
    Files.writeString(submit, "#!/bin/sh\necho \"$@\"\nexit 7\n");
    assertThat(submit.toFile().setExecutable(true)).isTrue();
    Result result =
        run(
            Map.of("SPARK_HOME", folder.toString(), "SPARK_SUBMIT_ARGS", "--master yarn"),
            "train --input x");
    assertThat(result.exitCode()).isEqualTo(7);
    assertThat(result.output())
        .startsWith("--master yarn --class org.mixedgpu.hetermoe.cli.HeterMoeCli ")
        .contains("-spark.jar train --input x");
  }

  private Result run(Map<String, String> environment, String arguments)
      throws IOException, InterruptedException {
    List<String> command = new ArrayList<>(List.of(SCRIPT.toString()));
    command.addAll(List.of(arguments.split(" ")));
    Path output = Files.createTempFile(folder, "output", ".txt");
    ProcessBuilder builder =
        new ProcessBuilder(command)
            .directory(folder.toFile())
            .redirectErrorStream(true)
            .redirectOutput(output.toFile());
    builder.environment().remove("SPARK_HOME");
    builder.environment().putAll(environment);
    Process process = builder.start();
    boolean ended = process.waitFor(4, TimeUnit.MINUTES);
    process.destroyForcibly();
    String text = Files.readString(output, StandardCharsets.UTF_8);
    assertThat(ended).as("ended in time; it printed:%n%s", text).isTrue();
    return new Result(process.exitValue(), text);
  }
}
