package org.mixedgpu.hetermoe.spark;

import static org.mixedgpu.hetermoe.spark.TrainOption.choice;
import static org.mixedgpu.hetermoe.spark.TrainOption.number;
import static org.mixedgpu.hetermoe.spark.TrainOption.real;
import static org.mixedgpu.hetermoe.spark.TrainOption.text;

import java.util.List;
import org.mixedgpu.base.ConfEntry;

/** All options of a training run. */
public final class TrainOptions {
  private static final double NO_LIMIT = Double.POSITIVE_INFINITY;

  // --- data ---
  public static final TrainOption<String> TEXT_COL =
      text("textCol", "text", "body", "Column of text, one document per row.");
  public static final TrainOption<String> TOKENS_COL =
      text(
          "tokensCol",
          "",
          "ids",
          "Column of token ids, an array of int per row, used instead of the text column where"
              + " given. The end token is the model configuration's eos_token_id; without one the"
              + " tokenizer's, if there is a tokenizer.");
  public static final TrainOption<Long> SEQUENCE_LENGTH =
      number(
          "sequenceLength",
          "tokens",
          512,
          2,
          1 << 20,
          "1024",
          "Length of the packed sequences. Documents follow each other, an end token between them"
              + " where there is one, and are cut where a sequence is full.");

  // --- model ---
  public static final TrainOption<String> MODEL =
      text(
          "model",
          "tiny-mixtral",
          "hdfs:///models/olmoe",
          "What to train: a folder with config.json and safetensors to continue from, a path that"
              + " ends in .json to initialise a new model of that configuration, or a preset's"
              + " name for the same.");
  public static final TrainOption<String> TOKENIZER =
      text(
          "tokenizer",
          "",
          "hdfs:///models/olmoe",
          "A folder with tokenizer.json, that file's path, or 'byte'; empty means the model"
              + " folder's, and for a new model bytes, with tokensCol none.");

  // --- batch and gang ---
  public static final TrainOption<Long> BATCH_SIZE =
      number(
          "batchSize",
          "sequences",
          16,
          1,
          1 << 20,
          "64",
          "Sequences per step over all attention members; at least attentionExecutors times"
              + " microBatches.");
  public static final TrainOption<Long> MICRO_BATCHES =
      number(
          "microBatches",
          "micro-batches",
          2,
          1,
          1024,
          "4",
          "Micro-batches per step and attention member: while the experts work on one, attention"
              + " works on the next. More overlap better and are smaller.");
  public static final TrainOption<Long> ATTENTION_EXECUTORS =
      number(
          "attentionExecutors",
          "members",
          1,
          1,
          1024,
          "2",
          "Members on the newer GPUs; each holds everything but the experts and takes its share of"
              + " the batch.");
  public static final TrainOption<Long> EXPERT_EXECUTORS =
      number(
          "expertExecutors",
          "members",
          1,
          1,
          1024,
          "4",
          "Members on the older GPUs; the experts of each layer are spread over them.");
  public static final TrainOption<String> ATTENTION_RESOURCE =
      text(
          "attentionResource",
          "gpu-ampere",
          "gpu-hopper",
          "Spark's name of the newer GPUs, gpu- and the generation.");
  public static final TrainOption<String> EXPERT_RESOURCE =
      text(
          "expertResource",
          "gpu-volta",
          "gpu-turing",
          "Spark's name of the older GPUs, gpu- and the generation.");
  public static final TrainOption<String> EMULATE =
      choice(
          "emulate",
          "'catalogue' makes members of the older generation as much slower as the GPU catalogue"
              + " says it is than the newer one, attention and experts each by their own factor;"
              + " results stay the same. For machines without GPUs of two generations.",
          "none",
          "catalogue");

  public static final TrainOption<String> BACKEND =
      choice(
          "backend",
          "What members compute on; there is no silent fallback. With cuda each member uses the GPU"
              + " whose address its task was given; on local[*], where nobody gives any, all use"
              + " the first that CUDA sees.",
          "cpu",
          "cuda");
  public static final TrainOption<String> PRECISION =
      choice(
          "precision",
          "Type that members compute in, with sums, master weights, moments and gradients of"
              + " weights in fp32 always; auto is fp32 on the CPU, bf16 on GPUs from compute"
              + " capability 8.0 on and fp16 on older ones.",
          "auto",
          "fp32",
          "fp16",
          "bf16");
  public static final TrainOption<Long> THREADS =
      number(
          "threads",
          "threads",
          0,
          0,
          1024,
          "8",
          "Compute threads of a member on the CPU backend; 0 means its share of the executor's"
              + " cores.");
  public static final TrainOption<Long> TENSOR_BYTES =
      number(
          "tensorBytes",
          "bytes",
          0,
          0,
          Long.MAX_VALUE,
          "8589934592",
          "Most memory of a member's tensors; 0 means what there is. On the CPU it lies outside the"
              + " JVM's heap, as part of spark.executor.memoryOverhead; with cuda on the GPU.");

  // --- optimizer ---
  public static final TrainOption<Long> STEPS =
      number("steps", "steps", 100, 1, 1L << 40, "10000", "Optimizer steps.");
  public static final TrainOption<Double> LEARNING_RATE =
      real("learningRate", "", 3e-4, 0, NO_LIMIT, "1e-3", "Highest learning rate of AdamW.");
  public static final TrainOption<Long> WARMUP_STEPS =
      number(
          "warmupSteps",
          "steps",
          0,
          0,
          1L << 40,
          "200",
          "Steps in which the learning rate rises linearly from 0.");
  public static final TrainOption<String> SCHEDULE =
      choice(
          "schedule",
          "What the learning rate does after the warm-up: fall along a cosine, which would reach"
              + " 0 in the step after the last, or stay.",
          "cosine",
          "constant");
  public static final TrainOption<Double> BETA1 =
      real("beta1", "", 0.9, 0, 1, "0.9", "AdamW's decay of the mean of gradients.");
  public static final TrainOption<Double> BETA2 =
      real("beta2", "", 0.95, 0, 1, "0.999", "AdamW's decay of the mean of squared gradients.");
  public static final TrainOption<Double> EPSILON =
      real("epsilon", "", 1e-8, 0, 1, "1e-6", "AdamW's term against division by zero.");
  public static final TrainOption<Double> WEIGHT_DECAY =
      real("weightDecay", "", 0.0, 0, NO_LIMIT, "0.1", "AdamW's decoupled weight decay.");
  public static final TrainOption<Double> CLIP_NORM =
      real(
          "clipNorm",
          "",
          1.0,
          0,
          NO_LIMIT,
          "0.5",
          "Gradients are scaled down to this global norm where theirs is larger; 0 means never.");
  public static final TrainOption<String> AUX_LOSS =
      choice(
          "auxLoss",
          "Definition of the load-balancing loss: over all layers at once as Hugging Face"
              + " computes it, or layer by layer as Megatron does.",
          "huggingface",
          "megatron");
  public static final TrainOption<String> AUX_COEFFICIENT =
      optional(
          "auxCoefficient",
          "0.01",
          "Factor on the load-balancing loss; empty means the model configuration's"
              + " router_aux_loss_coef, where its output_router_logits is true.");
  public static final TrainOption<String> Z_COEFFICIENT =
      optional(
          "zCoefficient",
          "0.001",
          "Factor on the router z-loss; empty means the model configuration's, usually none.");
  public static final TrainOption<Long> SEED =
      number(
          "seed",
          "",
          1,
          Long.MIN_VALUE,
          Long.MAX_VALUE,
          "7",
          "Seed of a new model's weights and of the order of sequences. Same seed, same bits.");

  // --- run ---
  public static final TrainOption<String> WORK_DIR =
      text(
          "workDir",
          "",
          "hdfs:///tmp/hetermoe",
          "Folder on a file system that driver and executors share; token shards go there and"
              + " stay. Empty means the output folder's name with .work at its end.");
  public static final TrainOption<String> OUTPUT =
      text(
          "output",
          "",
          "hdfs:///models/mine",
          "New folder for the trained model in Hugging Face's layout and for training.jsonl, the"
              + " history; empty means a new folder in workDir.");

  /** In the order of the documentation. */
  public static final List<TrainOption<?>> ALL =
      List.of(
          TEXT_COL,
          TOKENS_COL,
          SEQUENCE_LENGTH,
          MODEL,
          TOKENIZER,
          BATCH_SIZE,
          MICRO_BATCHES,
          ATTENTION_EXECUTORS,
          EXPERT_EXECUTORS,
          ATTENTION_RESOURCE,
          EXPERT_RESOURCE,
          EMULATE,
          BACKEND,
          PRECISION,
          THREADS,
          TENSOR_BYTES,
          STEPS,
          LEARNING_RATE,
          WARMUP_STEPS,
          SCHEDULE,
          BETA1,
          BETA2,
          EPSILON,
          WEIGHT_DECAY,
          CLIP_NORM,
          AUX_LOSS,
          AUX_COEFFICIENT,
          Z_COEFFICIENT,
          SEED,
          WORK_DIR,
          OUTPUT);

  private TrainOptions() {}

  /** A number of 0 or more, or empty text for "not given". */
  private static TrainOption<String> optional(String name, String example, String doc) {
    return new TrainOption<>(
        new ConfEntry<>(
            name,
            "",
            "",
            doc,
            s -> s,
            s -> s.isEmpty() || isFactor(Double.parseDouble(s)),
            "a number of 0 or more, or nothing"),
        example);
  }

  private static boolean isFactor(double x) {
    return x >= 0 && Double.isFinite(x);
  }
}
