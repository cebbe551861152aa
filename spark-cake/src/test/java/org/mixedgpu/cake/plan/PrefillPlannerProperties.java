package org.mixedgpu.cake.plan;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.Combinators;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.constraints.IntRange;

class PrefillPlannerProperties {
  private static final int CHUNK = 4;

  /** Prompts over two chunk contents, so that much is shared; words of prefixes, not of chunks. */
  @Provide
  Arbitrary<List<PromptFacts>> prompts() {
    Arbitrary<PromptFacts> one =
        Combinators.combine(
                Arbitraries.integers().between(0, 1).list().ofMaxSize(5),
                Arbitraries.integers().between(0, CHUNK - 1))
            .as((contents, rest) -> facts(contents, rest));
    return one.list().ofMaxSize(12);
  }

  private static PromptFacts facts(List<Integer> contents, int rest) {
    long[] words = new long[contents.size()];
    long prefix = 1;
    for (int i = 0; i < words.length; i++) {
      prefix = prefix * 0x9E3779B97F4A7C15L + contents.get(i) + 1;
      words[i] = prefix;
    }
    return new PromptFacts(words, words.length * CHUNK + rest);
  }

  private static PrefillPlan plan(List<PromptFacts> prompts, int tasks) {
    return new PrefillPlanner(CHUNK, 0.25).plan(prompts, new long[0], tasks);
  }

  /** The plan as lists of prompts by task in order; checks that it is a partition. */
  private static List<List<Integer>> byTask(List<PromptFacts> prompts, PrefillPlan plan) {
    List<List<Integer>> tasks = new ArrayList<>();
    for (int t = 0; t < plan.tasks(); t++) {
      tasks.add(new ArrayList<>());
    }
    for (int p = 0; p < prompts.size(); p++) {
      tasks.get(plan.assignment(p).task()).add(p);
    }
    for (List<Integer> task : tasks) {
      task.sort(Comparator.comparingInt(p -> plan.assignment(p).position()));
      for (int i = 0; i < task.size(); i++) {
        assertThat(plan.assignment(task.get(i)).position()).isEqualTo(i);
      }
    }
    return tasks;
  }

  @Property
  void everyPromptHasOnePlaceAndEveryTaskWork(
      @ForAll("prompts") List<PromptFacts> prompts, @ForAll @IntRange(min = 1, max = 5) int tasks) {
    PrefillPlan plan = plan(prompts, tasks);
    assertThat(plan.prompts()).isEqualTo(prompts.size());
    assertThat(plan.tasks()).isLessThanOrEqualTo(tasks);
    assertThat(byTask(prompts, plan)).allSatisfy(task -> assertThat(task).isNotEmpty());
  }

  @Property
  void aSharedPrefixIsComputedOncePerTaskWithOnePathInMemory(
      @ForAll("prompts") List<PromptFacts> prompts, @ForAll @IntRange(min = 1, max = 5) int tasks) {
    PrefillPlan plan = plan(prompts, tasks);
    long handled = 0;
    for (List<Integer> task : byTask(prompts, plan)) {
      Set<Long> distinct = new HashSet<>();
      long computed = 0;
      long[] path = {};
      for (int prompt : task) {
        long[] words = prompts.get(prompt).chunks();
        int common = 0;
        while (common < Math.min(path.length, words.length) && path[common] == words[common]) {
          common++;
        }
        for (int c = common; c < words.length; c++) {
          assertThat(distinct.add(words[c])).as("computed twice in a task").isTrue();
        }
        computed += prompts.get(prompt).tokens() - (long) common * CHUNK;
        path = words;
      }
      handled += computed;
    }
    assertThat(plan.summary().plannedTokens()).isEqualTo(handled);
  }

  @Property
  void whatIsWrittenHasAReaderAndOneWriter(
      @ForAll("prompts") List<PromptFacts> prompts, @ForAll @IntRange(min = 1, max = 5) int tasks) {
    Map<Long, Integer> readers = new HashMap<>();
    for (PromptFacts prompt : prompts) {
      for (long word : prompt.chunks()) {
        readers.merge(word, 1, Integer::sum);
      }
    }
    PrefillPlan plan = plan(prompts, tasks);
    Map<Long, Set<Integer>> writers = new HashMap<>();
    for (int p = 0; p < prompts.size(); p++) {
      PrefillPlan.Assignment a = plan.assignment(p);
      long[] words = prompts.get(p).chunks();
      for (int c = 0; c < words.length; c++) {
        assertThat(c < a.sharedChunks()).isEqualTo(readers.get(words[c]) > 1);
        if (c >= a.firstOwned()) {
          writers.computeIfAbsent(words[c], w -> new HashSet<>()).add(a.task());
        }
      }
    }
    assertThat(writers.keySet()).isEqualTo(readers.keySet());
    assertThat(writers.values()).allSatisfy(of -> assertThat(of).hasSize(1));
  }

  @Property
  void noCutIntoConsecutivePiecesIsMuchBetter(
      @ForAll("prompts") List<PromptFacts> prompts, @ForAll @IntRange(min = 1, max = 4) int tasks) {
    PrefillPlan plan = plan(prompts, tasks);
    List<Integer> order = new ArrayList<>();
    byTask(prompts, plan).forEach(order::addAll);
    double best = best(prompts, order, 0, tasks, new HashMap<>());
    assertThat(plan.summary().largestTaskCost())
        .isLessThanOrEqualTo(best * (100 + PrefillPlanner.SLACK_PERCENT) / 100 + 1e-6);
  }

  /** Tries all cuts. */
  private static double best(
      List<PromptFacts> prompts,
      List<Integer> order,
      int from,
      int tasks,
      Map<List<Integer>, Double> known) {
    if (from == order.size()) {
      return 0;
    }
    if (tasks == 0) {
      return Double.POSITIVE_INFINITY;
    }
    Double before = known.get(List.of(from, tasks));
    if (before != null) {
      return before;
    }
    double best = Double.POSITIVE_INFINITY;
    Set<Long> seen = new HashSet<>();
    double cost = 0;
    for (int to = from; to < order.size(); to++) {
      PromptFacts prompt = prompts.get(order.get(to));
      cost += prompt.tokens();
      for (long word : prompt.chunks()) {
        cost -= seen.add(word) ? 0 : CHUNK;
      }
      best = Math.min(best, Math.max(cost, best(prompts, order, to + 1, tasks - 1, known)));
    }
    known.put(List.of(from, tasks), best);
    return best;
  }

  @Property
  void sameFactsSamePlanAndStoredWordsInAnyOrder(
      @ForAll("prompts") List<PromptFacts> prompts, @ForAll @IntRange(min = 1, max = 5) int tasks) {
    long[] words =
        prompts.stream().flatMapToLong(p -> java.util.Arrays.stream(p.chunks())).toArray();
    long[] reversed = new long[words.length];
    for (int i = 0; i < words.length; i++) {
      reversed[i] = words[words.length - 1 - i];
    }
    PrefillPlan one = new PrefillPlanner(CHUNK, 0.25).plan(prompts, words, tasks);
    PrefillPlan two = new PrefillPlanner(CHUNK, 0.25).plan(prompts, reversed, tasks);
    assertThat(one.summary()).isEqualTo(two.summary());
    for (int p = 0; p < prompts.size(); p++) {
      assertThat(one.assignment(p)).isEqualTo(two.assignment(p));
    }
  }
}
