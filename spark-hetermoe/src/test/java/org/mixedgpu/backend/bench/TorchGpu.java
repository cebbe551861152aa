package org.mixedgpu.backend.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Map;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** The process of torch_gpu.py: PyTorch on the same GPU, one command at a time. */
public final class TorchGpu implements AutoCloseable {
  private final ObjectMapper json = new ObjectMapper();
  private final Path script;
  private final Process process;
  private final Writer commands;
  private final BufferedReader answers;

  /**
   * @param python with PyTorch, and transformers for models
   */
  public TorchGpu(String python) {
    try {
      script = Files.createTempFile("torch_gpu", ".py");
      try (InputStream in = TorchGpu.class.getResourceAsStream("torch_gpu.py")) {
        Files.copy(in, script, StandardCopyOption.REPLACE_EXISTING);
      }
      process =
          new ProcessBuilder(python, script.toString())
              .redirectError(ProcessBuilder.Redirect.INHERIT)
              .start();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    commands = process.outputWriter(StandardCharsets.UTF_8);
    answers =
        new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
  }

  /** The answer; a baseline that failed is an exception with Python's message. */
  public JsonNode ask(String command) {
    JsonNode answer;
    try {
      commands.write(command + "\n");
      commands.flush();
      String line = answers.readLine();
      if (line == null) {
        throw new MixedGpuException(Fault.MISSING, "The Python process ended at: " + command);
      }
      answer = json.readTree(line);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    if (answer.has("error")) {
      throw new MixedGpuException(
          Fault.MISSING, "PyTorch could not run '" + command + "': " + answer.get("error"));
    }
    return answer;
  }

  /** The field {@code seconds} of an answer. */
  public static Samples seconds(JsonNode answer) {
    return new Samples(new ObjectMapper().convertValue(answer.get("seconds"), double[].class));
  }

  /** Device, driver and versions. */
  public Map<String, String> machine() {
    return json.convertValue(
        ask("machine"),
        json.getTypeFactory().constructMapType(Map.class, String.class, String.class));
  }

  @Override
  public void close() {
    try {
      commands.close();
      process.waitFor();
      Files.delete(script);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      process.destroy();
    }
  }
}
