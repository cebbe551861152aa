package org.mixedgpu.cake.quickstart;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.mixedgpu.base.Check;

/**
 * Prompts with long shared prefixes, made from dictionary entries: one few-shot template for many
 * words, and several questions over each of a few long entries. A pure function of its arguments.
 */
public final class Prompts {
  /** Shown before each word; every prompt of the template begins with these. */
  private static final int EXAMPLES = 20;

  private Prompts() {}

  /**
   * One prompt.
   *
   * @param kind {@code few-shot} or {@code question}
   * @param subject the word it is about
   */
  public record Prompt(String kind, String subject, String text) {}

  /** {@code words} prompts that differ only in their last line. */
  public static List<Prompt> fewShot(List<WordNet.Entry> entries, int words, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    StringBuilder template = new StringBuilder("Explain each word in one sentence.\n\n");
    for (int i = 0; i < EXAMPLES; i++) {
      WordNet.Entry entry = entries.get(random.nextInt(entries.size()));
      template.append("Word: ").append(entry.words().get(0)).append('\n');
      template.append("Meaning: ").append(entry.definition()).append("\n\n");
    }
    List<Prompt> prompts = new ArrayList<>();
    for (int i = 0; i < words; i++) {
      String word = entries.get(random.nextInt(entries.size())).words().get(0);
      prompts.add(new Prompt("few-shot", word, template + "Word: " + word + "\nMeaning:"));
    }
    return prompts;
  }

  /**
   * {@code perEntry} questions over each of the {@code subjects} words with the longest lists of
   * senses up to {@code mostBytes}. Every other question quotes a sense of another word, so the
   * right answers are half yes, half no.
   */
  public static List<Prompt> questions(
      List<WordNet.Entry> entries, int subjects, int perEntry, int mostBytes, long seed) {
    Map<String, List<WordNet.Entry>> senses = new LinkedHashMap<>();
    for (WordNet.Entry entry : entries) {
      for (String word : entry.words()) {
        senses.computeIfAbsent(word, w -> new ArrayList<>()).add(entry);
      }
    }
    record Article(String word, String text) {}
    List<Article> articles =
        senses.entrySet().stream()
            .filter(e -> e.getValue().size() >= 8)
            .map(e -> new Article(e.getKey(), article(e.getKey(), e.getValue())))
            .filter(a -> a.text().getBytes(StandardCharsets.UTF_8).length <= mostBytes)
            .sorted(
                Comparator.comparingInt((Article a) -> -a.text().length())
                    .thenComparing(Article::word))
            .limit(subjects)
            .toList();
    Check.input(
        articles.size() == subjects,
        "Only %d words have at least 8 senses in at most %d bytes; asked for %d",
        articles.size(),
        mostBytes,
        subjects);
    SplittableRandom random = new SplittableRandom(seed);
    List<Prompt> prompts = new ArrayList<>();
    for (Article article : articles) {
      List<WordNet.Entry> own = senses.get(article.word());
      for (int i = 0; i < perEntry; i++) {
        List<WordNet.Entry> from = i % 2 == 0 ? own : entries;
        String sense = from.get(random.nextInt(from.size())).definition();
        prompts.add(
            new Prompt(
                "question",
                article.word(),
                article.text()
                    + "\nQuestion: Can \""
                    + article.word()
                    + "\" mean \""
                    + sense
                    + "\"?\nAnswer:"));
      }
    }
    return prompts;
  }

  private static String article(String word, List<WordNet.Entry> senses) {
    StringBuilder text = new StringBuilder("Senses of \"").append(word).append("\"\n");
    int number = 1;
    for (WordNet.Entry sense : senses) {
      text.append(number++).append(". ").append(sense.meaning()).append('\n');
    }
    return text.toString();
  }
}
