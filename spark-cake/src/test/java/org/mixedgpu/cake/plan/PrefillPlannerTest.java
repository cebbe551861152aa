package org.mixedgpu.cake.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class PrefillPlannerTest {
  private static final PrefillPlanner PLANNER = new PrefillPlanner(10, 0.1);

  private static PromptFacts prompt(int rest, long... words) {
    return new PromptFacts(words, 10 * words.length + rest);
  }

  @Test
  void theSummaryCountsTheTrie() {
    List<PromptFacts> prompts =
        List.of(prompt(3, 1, 2, 3), prompt(5, 9), prompt(4, 1, 2, 4), prompt(0, 1, 2, 4));
    PlanSummary summary = PLANNER.plan(prompts, new long[] {9, 77}, 1).summary();
    assertThat(summary.totalTokens()).isEqualTo(33 + 15 + 34 + 30);
    assertThat(summary.distinctTokens()).isEqualTo(10 * 5 + 3 + 5 + 4);
    assertThat(summary.storedTokens()).isEqualTo(10);
    assertThat(summary.plannedTokens()).isEqualTo(summary.distinctTokens());
    assertThat(summary.largestTaskCost()).isEqualTo(62 - 9.0);
    assertThat(summary.savingBound()).isEqualTo(50.0 / 112);
    assertThat(summary.describe()).contains("4 prompts", "112 tokens", "at most 44.6%");
    assertThat(summary.achieved(62, 10, 40)).contains("44.6% not computed", "held another 8.9%");
  }

  @Test
  void aSubtreeStaysWholeWhereBalanceAllowsIt() {
    List<PromptFacts> prompts = new ArrayList<>();
    for (int document = 0; document < 4; document++) {
      for (int question = 0; question < 5; question++) {
        prompts.add(prompt(10, 1000 + document, 2000 + document, 3000 + document));
      }
    }
    PrefillPlan plan = PLANNER.plan(prompts, new long[0], 4);
    assertThat(plan.tasks()).isEqualTo(4);
    for (int p = 0; p < prompts.size(); p++) {
      assertThat(plan.assignment(p).task()).isEqualTo(plan.assignment(p / 5 * 5).task());
      assertThat(plan.assignment(p).sharedChunks()).isEqualTo(3);
      assertThat(plan.assignment(p).firstOwned()).isZero();
    }
    assertThat(plan.summary().plannedTokens()).isEqualTo(plan.summary().distinctTokens());
  }

  @Test
  void aHotSubtreeIsSplitAndItsPathHasOneWriter() {
    List<PromptFacts> prompts = new ArrayList<>();
    for (int question = 0; question < 8; question++) {
      prompts.add(prompt(0, 1, 100 + question, 200 + question));
    }
    PrefillPlan plan = PLANNER.plan(prompts, new long[0], 2);
    assertThat(plan.tasks()).isEqualTo(2);
    for (int p = 0; p < 8; p++) {
      PrefillPlan.Assignment a = plan.assignment(p);
      assertThat(a.task()).isEqualTo(p / 4);
      assertThat(a.firstOwned()).isEqualTo(p < 4 ? 0 : 1);
      assertThat(a.sharedChunks()).isEqualTo(1);
    }
    assertThat(plan.summary().plannedTokens()).isEqualTo(plan.summary().distinctTokens() + 10);
  }

  @Test
  void storedChunksMakeAPromptCheapAndMoveTheCut() {
    List<PromptFacts> prompts =
        List.of(prompt(0, 1, 11), prompt(0, 2, 12), prompt(0, 3, 13), prompt(0, 4, 14));
    PrefillPlan plan = PLANNER.plan(prompts, new long[] {1, 11, 2, 12}, 2);
    assertThat(plan.assignment(2).task()).isZero();
    assertThat(plan.assignment(3).task()).isEqualTo(1);
  }

  @Test
  void nothingToDoIsAPlanToo() {
    PrefillPlan plan = PLANNER.plan(List.of(), new long[0], 3);
    assertThat(plan.tasks()).isZero();
    assertThat(plan.summary().savingBound()).isZero();
    assertThat(PLANNER.plan(List.of(prompt(0)), new long[0], 3).assignment(0).task()).isZero();
    assertThatThrownBy(() -> plan.assignment(0)).hasMessageContaining("for 0 prompts");
  }
}
