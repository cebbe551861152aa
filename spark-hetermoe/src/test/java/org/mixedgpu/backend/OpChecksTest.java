package org.mixedgpu.backend;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.mixedgpu.base.Garbage;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.HostMemory;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** What the checks of an op cost; what they refuse is part of the contract. */
class OpChecksTest {
  private static final int ROWS = 300;
  private static final int WIDTH = 256;
  private static final int EXPERTS = 8;
  private static final int K = 2;

  private final TrainingOpChecks checks = new TrainingOpChecks(DType.BF16);
  private final Map<String, Runnable> calls = new LinkedHashMap<>();
  private final List<Tensor> opened = new ArrayList<>();
  private HostMemory memory;

  @BeforeEach
  void open() {
    memory = new HostMemory("checks", Long.MAX_VALUE);
    forward();
    backward();
  }

  @AfterEach
  void close() {
    opened.forEach(Tensor::close);
    memory.close();
  }

  private Tensor of(DType type, long... dims) {
    Tensor tensor = memory.allocate(type, Shape.of(dims));
    opened.add(tensor);
    return tensor;
  }

  private Tensor real(long... dims) {
    return of(DType.BF16, dims);
  }

  private Tensor f32(long... dims) {
    return of(DType.F32, dims);
  }

  private Tensor i32(long... dims) {
    return of(DType.I32, dims);
  }

  private void forward() {
    Tensor x = real(ROWS, WIDTH);
    Tensor y = real(ROWS, WIDTH);
    Tensor square = real(WIDTH, WIDTH);
    Tensor column = real(ROWS);
    Tensor row = real(WIDTH);
    Tensor f32Row = f32(WIDTH);
    Tensor index = i32(ROWS);
    Tensor perRow = f32(ROWS);
    Tensor slots = real(ROWS * K, WIDTH);
    Tensor slotOf = i32(ROWS, K);
    Tensor weights = f32(ROWS, K);
    Tensor stack = real(EXPERTS, WIDTH, WIDTH);
    Tensor offsets = i32(EXPERTS + 1);
    Tensor logits = f32(ROWS, EXPERTS);
    Tensor rowOf = i32(ROWS * K);
    Tensor angles = f32(ROWS, 32);
    Tensor perHead = f32(ROWS, 4);
    AttentionShape shape = new AttentionShape(1, 4, 4, 64, 0.125f, 0);
    calls.put("fill", () -> checks.fill(x));
    calls.put("copy", () -> checks.copy(x, y));
    calls.put("add", () -> checks.add(x, y, y));
    calls.put("scale", () -> checks.scale(x));
    calls.put("addBias", () -> checks.addBias(x, row));
    calls.put("swiglu", () -> checks.swiglu(x, y, y));
    calls.put("addGated", () -> checks.addGated(x, y, column));
    calls.put("gatherRows", () -> checks.gatherRows(x, y, index));
    calls.put("combineRows", () -> checks.combineRows(x, slots, slotOf, weights));
    calls.put("matmul", () -> checks.matmul(x, y, square, Transpose.NT));
    calls.put("matmul NN", () -> checks.matmul(x, y, square, Transpose.NN));
    calls.put("matmul TN", () -> checks.matmul(square, x, y, Transpose.TN));
    calls.put("groupedMatmul", () -> checks.groupedMatmul(x, y, stack, offsets, Transpose.NT));
    calls.put("groupedMatmul NN", () -> checks.groupedMatmul(x, y, stack, offsets, Transpose.NN));
    calls.put("rmsNorm", () -> checks.rmsNorm(x, perRow, y, f32Row));
    calls.put("rope", () -> checks.rope(x, 64, angles, angles, 0, ROWS));
    calls.put("attention", () -> checks.attention(x, perHead, y, y, y, shape));
    calls.put("routerTopK", () -> checks.routerTopK(logits, weights, slotOf, logits));
    calls.put("sortByExpert", () -> checks.sortByExpert(slotOf, rowOf, offsets, slotOf));
    calls.put("crossEntropy", () -> checks.crossEntropy(perRow, x, y, index));
  }

  private void backward() {
    Tensor x = real(ROWS, WIDTH);
    Tensor y = real(ROWS, WIDTH);
    Tensor wide = f32(ROWS, WIDTH);
    Tensor wideRow = f32(WIDTH);
    Tensor column = real(ROWS);
    Tensor index = i32(ROWS);
    Tensor perRow = f32(ROWS);
    Tensor slots = real(ROWS * K, WIDTH);
    Tensor slotOf = i32(ROWS, K);
    Tensor weights = f32(ROWS, K);
    Tensor dStack = f32(EXPERTS, WIDTH, WIDTH);
    Tensor offsets = i32(EXPERTS + 1);
    Tensor logits = f32(ROWS, EXPERTS);
    Tensor byExpert = f32(EXPERTS);
    Tensor perHead = f32(ROWS, 4);
    Tensor one = f32(1);
    AttentionShape shape = new AttentionShape(1, 4, 4, 64, 0.125f, 0);
    calls.put("addBiasBackward", () -> checks.addBiasBackward(wideRow, x));
    calls.put("swigluBackward", () -> checks.swigluBackward(x, x, x, y, y, y));
    calls.put("addGatedBackward", () -> checks.addGatedBackward(x, column, y, y, column));
    calls.put("scatterAddRows", () -> checks.scatterAddRows(wide, x, index));
    calls.put(
        "combineRowsBackward",
        () -> checks.combineRowsBackward(slots, weights, x, slots, slotOf, weights));
    calls.put(
        "groupedMatmulWeightGradient",
        () -> checks.groupedMatmulWeightGradient(dStack, x, y, offsets));
    calls.put("rmsNormBackward", () -> checks.rmsNormBackward(x, wideRow, y, y, wideRow, perRow));
    calls.put(
        "attentionBackward",
        () -> checks.attentionBackward(x, x, x, y, y, y, y, y, perHead, shape));
    calls.put(
        "routerBackward",
        () ->
            checks.routerBackward(
                logits, weights, logits, weights, slotOf, logits, byExpert, 0.1f));
    calls.put("sumSquares", () -> checks.sumSquares(one, wide));
    calls.put("sumRows", () -> checks.sumRows(wideRow, wide));
    calls.put("adamW", () -> checks.adamW(wide, wide, wide, wide, x));
  }

  @Test
  void allOpsAreHere() {
    Set<String> ops =
        Arrays.stream(TrainingOpChecks.class.getMethods())
            .filter(method -> method.getDeclaringClass() != Object.class)
            .filter(method -> !Modifier.isStatic(method.getModifiers()))
            .map(Method::getName)
            .collect(Collectors.toSet());
    assertThat(calls.keySet()).containsAll(ops);
    assertThat(ops).hasSizeGreaterThan(28);
  }

  @Test
  void aCheckThatPassesAllocatesNothing() {
    Map<String, Long> garbage = new TreeMap<>();
    calls.forEach((op, call) -> garbage.put(op, Garbage.of(call)));
    garbage.values().removeIf(bytes -> bytes == 0);
    assertThat(garbage).isEmpty();
  }
}
