package org.mixedgpu.hetermoe.train;

import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;

/**
 * A zebra-parallel training run; equal on all members.
 *
 * @param auxKind which balancing loss; its coefficients are in the model's config
 * @param steps optimizer steps
 * @param recordTimeline whether the last step's timeline is kept
 */
public record ZebraJob(
    ModelConfig model,
    TrainingPlan plan,
    OptimizerConfig optimizer,
    AuxLoss.Kind auxKind,
    long steps,
    boolean recordTimeline) {
  public ZebraJob {
    Check.input(steps >= 1, "A run needs steps; found %d", steps);
    Check.input(
        plan.placement().layers() == model.layers(),
        "The plan places experts of %d layers, the model has %d",
        plan.placement().layers(),
        model.layers());
    for (int layer = 0; layer < model.layers(); layer++) {
      int experts = model.isMoe(layer) ? model.requireMoe().experts() : 0;
      Check.input(
          plan.placement().experts(layer) == experts,
          "The plan places %d experts of layer %d, the model has %d",
          plan.placement().experts(layer),
          layer,
          experts);
    }
    for (int layer = 0; layer < model.layers(); layer++) {
      for (int expert = 0; expert < plan.placement().experts(layer); expert++) {
        Check.input(
            plan.placement().owner(layer, expert) >= plan.attentionRanks(),
            "Expert %d of layer %d is placed on attention rank %d; experts on attention ranks are"
                + " not implemented, place them on ranks %d and up",
            expert,
            layer,
            plan.placement().owner(layer, expert),
            plan.attentionRanks());
      }
    }
  }

  /** Experts of each layer, 0 where it is dense: what a plan is made from. */
  public static int[] expertsByLayer(ModelConfig model) {
    int[] experts = new int[model.layers()];
    for (int layer = 0; layer < experts.length; layer++) {
      experts[layer] = model.isMoe(layer) ? model.requireMoe().experts() : 0;
    }
    return experts;
  }
}
