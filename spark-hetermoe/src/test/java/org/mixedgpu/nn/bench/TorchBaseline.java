package org.mixedgpu.nn.bench;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;

/** The process of torch_baseline.py: one command a line, wall and processor seconds back. */
final class TorchBaseline implements AutoCloseable {
  private final Process process;
  private final Writer commands;
  private final BufferedReader answers;

  TorchBaseline(String python, int threads) throws IOException {
    process =
        new ProcessBuilder(python, "src/test/python/torch_baseline.py", Integer.toString(threads))
            .redirectError(ProcessBuilder.Redirect.DISCARD)
            .start();
    commands = process.outputWriter(StandardCharsets.UTF_8);
    answers =
        new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
  }

  double[] ask(String command) {
    try {
      commands.write(command + "\n");
      commands.flush();
      String answer = answers.readLine();
      if (answer == null) {
        throw new IllegalStateException("The Python process ended at: " + command);
      }
      String[] numbers = answer.split(" ");
      return new double[] {Double.parseDouble(numbers[0]), Double.parseDouble(numbers[1])};
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public void close() throws IOException {
    commands.close();
    process.destroy();
  }
}
