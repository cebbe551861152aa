package org.mixedgpu.cake.quickstart;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.mixedgpu.base.MixedGpuException;

class WordNetTest {
  @Test
  void allEntriesOfTheFourFilesAreRead() {
    List<WordNet.Entry> entries = WordNet.entries();
    assertThat(entries).hasSize(82_192 + 13_789 + 18_185 + 3_625);
    assertThat(entries).allMatch(e -> !e.words().isEmpty() && !e.meaning().isBlank());
    assertThat(entries).noneMatch(e -> e.words().get(0).contains("_"));
  }

  @Test
  void aLineIsSplitIntoWordsAndMeaning() {
    WordNet.Entry entry =
        WordNet.parse(
            "00000001 00 a 02 up_to(p) 0 tall 1 001 & 00000002 a 0000 | high; \"a tall tree\"  ",
            "data.adj");
    assertThat(entry.words()).containsExactly("up to", "tall");
    assertThat(entry.definition()).isEqualTo("high");
    assertThat(entry.line()).isEqualTo("up to, tall: high; \"a tall tree\"");
  }

  @Test
  void aLineThatIsNotADataLineIsRefused() {
    assertThatThrownBy(() -> WordNet.parse("no gloss here", "data.noun"))
        .isInstanceOf(MixedGpuException.class)
        .hasMessageContaining("data.noun has a line that is not a data line: no gloss here");
  }
}
