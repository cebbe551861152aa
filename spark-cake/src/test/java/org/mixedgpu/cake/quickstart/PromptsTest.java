package org.mixedgpu.cake.quickstart;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

class PromptsTest {
  private static final List<WordNet.Entry> ENTRIES = WordNet.entries();

  @Test
  void promptsOfTheTemplateShareAllButTheirEnd() {
    List<Prompts.Prompt> prompts = Prompts.fewShot(ENTRIES, 5, 1);
    assertThat(prompts).hasSize(5).isEqualTo(Prompts.fewShot(ENTRIES, 5, 1));
    int shared = prompts.get(0).text().lastIndexOf("Word: ");
    assertThat(shared).isGreaterThan(1000);
    assertThat(prompts.stream().map(p -> p.text().substring(0, shared)).distinct()).hasSize(1);
    assertThat(prompts.stream().map(Prompts.Prompt::text).distinct()).hasSize(5);
  }

  @Test
  void questionsOfOneEntryShareTheEntry() {
    List<Prompts.Prompt> prompts = Prompts.questions(ENTRIES, 3, 4, 2500, 1);
    assertThat(prompts.stream().collect(Collectors.groupingBy(Prompts.Prompt::subject)).values())
        .hasSize(3)
        .allSatisfy(
            group -> {
              assertThat(group).hasSize(4);
              assertThat(group.stream().map(p -> p.text().split("\nQuestion:", 2)[0]).distinct())
                  .hasSize(1);
              assertThat(group.get(0).text().length()).isGreaterThan(1000);
            });
  }
}
