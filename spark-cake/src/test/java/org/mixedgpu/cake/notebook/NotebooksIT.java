package org.mixedgpu.cake.notebook;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** Every notebook runs from its first to its last cell, as Jupyter would run it. */
class NotebooksIT {
  private static final Path NOTEBOOKS = Path.of("..", "notebooks");
  private static final Path START = NOTEBOOKS.resolve("kernels/mixedgpu/start").toAbsolutePath();
  private static final Duration LIMIT = Duration.ofMinutes(4);

  @TempDir Path folder;

  @TestFactory
  Stream<DynamicTest> everyNotebookRuns() throws IOException {
    List<Path> notebooks = files(".ipynb");
    assertThat(notebooks).isNotEmpty();
    return notebooks.stream()
        .map(
            path -> DynamicTest.dynamicTest(path.getFileName().toString(), () -> run(cells(path))));
  }

  @Test
  void aCellThatFailsIsSeen() throws Exception {
    try (JupyterKernel kernel = start()) {
      assertThat(kernel.execute("int answer = 6 * 7;", LIMIT).status()).isEqualTo("ok");
      assertThat(kernel.execute("System.out.println(answer)", LIMIT).output()).isEqualTo("42\n");
      assertThat(kernel.execute("answer.nonsense()", LIMIT).status()).isEqualTo("error");
      assertThat(kernel.execute("throw new IllegalStateException(\"planted\")", LIMIT).output())
          .contains("planted");
    }
  }

  /** A Zeppelin note holds the same code as the notebook of its name. */
  @TestFactory
  Stream<DynamicTest> everyNoteEqualsItsNotebook() throws IOException {
    return files(".ipynb").stream()
        .map(
            path ->
                DynamicTest.dynamicTest(
                    path.getFileName().toString(),
                    () -> {
                      String name = path.getFileName().toString().replace(".ipynb", ".zpln");
                      JsonNode note = read(NOTEBOOKS.resolve(name));
                      List<String> code = new ArrayList<>();
                      for (JsonNode paragraph : note.path("paragraphs")) {
                        String text = paragraph.path("text").asText();
                        if (text.startsWith("%java\n")) {
                          code.add(text.substring("%java\n".length()));
                        }
                      }
                      assertThat(code).isEqualTo(cells(path));
                    }));
  }

  private void run(List<String> cells) throws Exception {
    try (JupyterKernel kernel = start()) {
      for (String cell : cells) {
        JupyterKernel.Reply reply = kernel.execute(cell, LIMIT);
        System.out.println(reply.output());
        assertThat(reply.status()).as("%s\n%s", cell, reply.output()).isEqualTo("ok");
      }
    }
  }

  private JupyterKernel start() throws Exception {
    Path log = folder.resolve("kernel.log");
    // Now and then a kernel listens and never answers: its loops have ended before they began.
    for (int attempt = 1; ; attempt++) {
      try {
        return new JupyterKernel(START, folder, folder.resolve("connection.json"), log);
      } catch (IllegalStateException e) {
        if (attempt == 4) {
          throw new IllegalStateException(Files.readString(log), e);
        }
        System.out.println("Attempt " + attempt + ": " + e.getMessage());
      }
    }
  }

  private static List<Path> files(String suffix) throws IOException {
    try (Stream<Path> files = Files.list(NOTEBOOKS)) {
      return files.filter(f -> f.toString().endsWith(suffix)).sorted().toList();
    }
  }

  /** The text of each code cell. */
  private static List<String> cells(Path notebook) throws IOException {
    List<String> cells = new ArrayList<>();
    for (JsonNode cell : read(notebook).path("cells")) {
      if (cell.path("cell_type").asText().equals("code")) {
        StringBuilder text = new StringBuilder();
        cell.path("source").forEach(line -> text.append(line.asText()));
        cells.add(text.toString());
      }
    }
    assertThat(cells).isNotEmpty();
    return cells;
  }

  private static JsonNode read(Path file) throws IOException {
    return new ObjectMapper().readTree(file.toFile());
  }
}
