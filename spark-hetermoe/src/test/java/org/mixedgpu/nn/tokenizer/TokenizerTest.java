package org.mixedgpu.nn.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;

class TokenizerTest {
  private static final String TEXT = "Zürich, 東京 \u0000\n<|eos|> 🙂\u00ad";

  private final FileStore files = HadoopFileStore.ofDefaults();
  @TempDir Path folder;

  @Test
  void bytesRoundTrip() {
    try (Tokenizer bytes = new ByteTokenizer()) {
      assertThat(bytes.encode("aé")).containsExactly(ByteTokenizer.BOS, 0x61, 0xc3, 0xa9);
      assertThat(bytes.decode(bytes.encode(TEXT))).isEqualTo(TEXT);
      assertThat(bytes.decode(0xc3)).isEqualTo("\ufffd");
      assertThat(bytes.decode(ByteTokenizer.EOS, 300)).isEmpty();
    }
  }

  @Test
  void theSavedByteTokenizerGivesTheSameIdsInTheLibrary() throws IOException {
    new ByteTokenizer().save(files, folder.toString());
    // Saving twice is what a second checkpoint of one run does.
    new ByteTokenizer().save(files, folder.toString());
    try (Tokenizer own = Tokenizer.open(files, folder.toString())) {
      assertThat(own).isInstanceOf(ByteTokenizer.class);
    }
    Path json = folder.resolve("tokenizer.json");
    // Another spelling of the same file is opened by the library.
    Files.writeString(json, Files.readString(json) + "\n");
    try (Tokenizer library = Tokenizer.open(files, folder.toString());
        Tokenizer bytes = new ByteTokenizer()) {
      assertThat(library).isInstanceOf(HuggingFaceTokens.class);
      String plain = TEXT.replace("<|eos|>", "");
      assertThat(library.encode(plain)).containsExactly(bytes.encode(plain));
      assertThat(library.encodePlain(plain)).containsExactly(bytes.encodePlain(plain));
      assertThat(library.decode(bytes.encode(plain))).isEqualTo(plain);
      // The one difference: the library also finds special tokens in the text.
      assertThat(library.encodePlain("<|eos|>")).containsExactly(ByteTokenizer.EOS);
      int[] every = IntStream.range(0, 256).toArray();
      assertThat(library.decode(every)).isEqualTo(bytes.decode(every));
      assertThat(library.vocab()).isEqualTo(ByteTokenizer.VOCAB);
      assertThat(library.bosId()).isEqualTo(ByteTokenizer.BOS);
      assertThat(library.eosId()).isEqualTo(ByteTokenizer.EOS);
      // Nothing is cut.
      assertThat(library.encode("x".repeat(5000))).hasSize(5001);
      Path copy = folder.resolve("copy");
      library.save(files, copy.toString());
      assertThat(Files.readString(copy.resolve("tokenizer.json")))
          .isEqualTo(Files.readString(json));
    }
  }

  /** {@code src/test/python/make_tokenizer.py} wrote what is expected. */
  @ParameterizedTest
  @ValueSource(strings = {"bytelevel", "metaspace"})
  void agreesWithTheLibraryInPython(String name) throws IOException {
    Path golden = Path.of("src/test/resources/tokenizer", name).toAbsolutePath();
    JsonNode expected = new ObjectMapper().readTree(golden.resolve("golden.json").toFile());
    try (Tokenizer tokenizer = Tokenizer.open(files, golden.toString())) {
      assertThat(tokenizer.vocab()).isEqualTo(expected.get("vocab").asInt());
      assertThat(tokenizer.bosId()).isEqualTo(expected.get("bos").asInt());
      assertThat(tokenizer.eosId()).isEqualTo(expected.get("eos").asInt());
      assertThat(expected.get("cases")).hasSizeGreaterThan(8);
      for (JsonNode one : expected.get("cases")) {
        String text = one.get("text").asText();
        assertThat(tokenizer.encode(text)).as(text).containsExactly(ids(one.get("ids")));
        assertThat(tokenizer.encodePlain(text)).as(text).containsExactly(ids(one.get("plain")));
        assertThat(tokenizer.decode(ids(one.get("ids")))).isEqualTo(one.get("decoded").asText());
      }
    }
  }

  private static int[] ids(JsonNode list) {
    return IntStream.range(0, list.size()).map(i -> list.get(i).asInt()).toArray();
  }

  @ParameterizedTest
  @ValueSource(strings = {"bytelevel", "metaspace"})
  void continuationsAddUpToTheText(String name) {
    Path golden = Path.of("src/test/resources/tokenizer", name).toAbsolutePath();
    String text = "write the tokenizer, then trained on this file";
    try (Tokenizer tokenizer = Tokenizer.open(files, golden.toString())) {
      StringBuilder whole = new StringBuilder();
      for (int id : tokenizer.encode(text)) {
        whole.append(tokenizer.continuation(id));
      }
      // Metaspace starts a text with the space that it drops again when it decodes.
      assertThat(whole.toString().strip()).isEqualTo(text);
      int[] ids = tokenizer.encodePlain("a file");
      assertThat(tokenizer.continuation(ids[1])).startsWith(" ");
      assertThat(tokenizer.continuation(tokenizer.bosId())).isEmpty();
    }
  }

  @Test
  void manyThreadsMayEncodeAtOnce() {
    String golden = Path.of("src/test/resources/tokenizer/bytelevel").toAbsolutePath().toString();
    try (Tokenizer tokenizer = Tokenizer.open(files, golden)) {
      int[] expected = tokenizer.encode(TEXT);
      assertThat(
              IntStream.range(0, 400)
                  .parallel()
                  .allMatch(i -> Arrays.equals(tokenizer.encode(TEXT), expected)))
          .isTrue();
    }
  }

  @Test
  void aFolderWithoutATokenizerSaysWhatToDo() {
    assertThatThrownBy(() -> Tokenizer.open(files, folder.toString()))
        .hasMessageContaining("has no tokenizer.json")
        .hasMessageContaining("'byte'")
        .extracting(e -> ((MixedGpuException) e).fault())
        .isEqualTo(Fault.MISSING);
    try (Tokenizer named = Tokenizer.named(files, "byte")) {
      assertThat(named.vocab()).isEqualTo(259);
    }
  }

  @Test
  void aDamagedTokenizerIsCorrupt() throws IOException {
    for (String text : new String[] {"", "{", "[]", "{\"model\":{\"vocab\":{\"a\":0}}}", "{}"}) {
      Files.writeString(folder.resolve("tokenizer.json"), text);
      assertThatThrownBy(() -> Tokenizer.open(files, folder.toString()))
          .hasMessageContaining("tokenizer.json")
          .extracting(e -> ((MixedGpuException) e).fault())
          .isEqualTo(Fault.CORRUPT);
    }
  }

  @Test
  void anotherTokenizerIsNotOverwritten() throws IOException {
    Files.writeString(folder.resolve("tokenizer.json"), "{}");
    assertThatThrownBy(() -> new ByteTokenizer().save(files, folder.toString()))
        .hasMessageContaining("holds another tokenizer's file");
  }
}
