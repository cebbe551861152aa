package org.mixedgpu.hetermoe.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.mixedgpu.nn.Golden;
import picocli.CommandLine;

/** Every golden model through the command that users check theirs with. */
class VerifyCommandTest {
  @TempDir Path temporary;
  private final StringWriter out = new StringWriter();
  private final StringWriter err = new StringWriter();

  static List<String> cases() {
    return Golden.cases();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void goldenModelsAgree(String name) {
    String folder = Golden.folder(name);
    List<String> args = verify(folder);
    if (Golden.isTrained(name)) {
      args.addAll(List.of("--train", folder + "/train.json"));
    }
    int exit = run(args);
    assertThat(exit).as("%s%n%s", out, err).isZero();
    assertThat(out.toString()).contains("ok    logits").contains("ok    k.0").contains("ok    v.1");
    if (Golden.isTrained(name)) {
      assertThat(out.toString())
          .contains("ok    loss 7")
          .contains("ok    gradient norm 7")
          .contains("ok    model.layers.1.self_attn.q_proj.weight gradient 0")
          .contains("steps ");
    }
  }

  @Test
  void aChangedWeightIsFound() throws IOException {
    Path copy = copy("qwen3");
    Path weights = copy.resolve("model.safetensors");
    byte[] bytes = Files.readAllBytes(weights);
    // The sign and exponent of one element in the middle of the file.
    int at = bytes.length / 2 / 4 * 4 + 3;
    bytes[at] = (byte) (bytes[at] ^ 0x80);
    Files.write(weights, bytes);
    List<String> args = verify(copy.toString());
    args.addAll(List.of("--train", copy + "/train.json"));
    assertThat(run(args)).as("%s", err).isEqualTo(1);
    assertThat(out.toString()).contains("FAIL  logits").contains("FAIL  loss 0");
  }

  @Test
  void aNotANumberIsFound() throws IOException {
    Path copy = copy("qwen3");
    Path weights = copy.resolve("model.safetensors");
    byte[] bytes = Files.readAllBytes(weights);
    int at = bytes.length - 4;
    bytes[at + 3] = 0x7f;
    bytes[at + 2] = (byte) 0xff;
    Files.write(weights, bytes);
    assertThat(run(verify(copy.toString()))).as("%s", err).isEqualTo(1);
    assertThat(out.toString()).contains("NaN");
  }

  @Test
  void theToleranceDecides() {
    List<String> args = verify(Golden.folder("qwen2"));
    args.addAll(List.of("--tolerance", "1e-12"));
    assertThat(run(args)).isEqualTo(1);
    assertThat(out.toString()).contains("FAIL  logits").contains("limit 1.0e-12");
  }

  @Test
  void usageIsCheckedBeforeAnyWork() {
    assertThat(run(List.of("verify"))).isEqualTo(2);
    assertThat(err.toString()).contains("--model=DIR", "--reference=FILE");
    List<String> negative = verify(Golden.folder("qwen2"));
    negative.addAll(List.of("--tolerance", "-1"));
    assertThat(run(negative)).isEqualTo(2);
    assertThat(err.toString()).contains("--tolerance must be a positive number");
  }

  @Test
  void whatIsMissingIsNamed() {
    assertThat(
            run(List.of("verify", "--model", "/no/such", "--reference", "/no/golden.safetensors")))
        .isEqualTo(1);
    assertThat(err.toString()).contains("MISSING").contains("/no/golden.safetensors");
  }

  @Test
  void aReferenceOfAnotherModelIsRefused() {
    int exit =
        run(
            List.of(
                "verify",
                "--model",
                Golden.folder("qwen2"),
                "--reference",
                Golden.folder("qwen3") + "/golden.safetensors"));
    assertThat(exit).isEqualTo(1);
    assertThat(err.toString()).contains("logits has shape [2, 48, 128]").contains("[2, 48, 512]");
  }

  private static List<String> verify(String folder) {
    return new ArrayList<>(
        List.of("verify", "--model", folder, "--reference", folder + "/golden.safetensors"));
  }

  private int run(List<String> args) {
    CommandLine line = HeterMoeCli.commandLine();
    line.setOut(new PrintWriter(out, true));
    line.setErr(new PrintWriter(err, true));
    return line.execute(args.toArray(new String[0]));
  }

  private Path copy(String name) throws IOException {
    try (Stream<Path> sources = Files.list(Path.of(Golden.folder(name)))) {
      for (Path source : sources.toList()) {
        Files.copy(source, temporary.resolve(source.getFileName()));
      }
    }
    return temporary;
  }
}
