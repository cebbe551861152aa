package org.mixedgpu.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * The part of {@link BackendContract} about memory and copies. Each test opens a backend and closes
 * it, so that a leak fails the test.
 */
abstract class MemoryContract {
  static final long SEED = Long.getLong("contract.seed", new Random().nextLong());

  TrainingBackend backend;
  ReferenceBackend reference;
  OpComparison compare;
  private final List<Tensor> open = new ArrayList<>();

  /** Opens the implementation under test. */
  abstract TrainingBackend open(long memoryLimitBytes);

  @BeforeEach
  void open() {
    backend = open(1L << 30);
    reference = new ReferenceBackend();
    compare = new OpComparison(backend, reference, SEED);
  }

  @AfterEach
  void close() {
    open.forEach(Tensor::close);
    reference.close();
    backend.close();
  }

  Tensor tensor(DType type, long... dims) {
    Tensor tensor = backend.allocate(type, Shape.of(dims));
    open.add(tensor);
    return tensor;
  }

  /** Of the compute type. */
  Tensor real(long... dims) {
    return tensor(backend.computeType(), dims);
  }

  Tensor f32(long... dims) {
    return tensor(DType.F32, dims);
  }

  Tensor i32(long... dims) {
    return tensor(DType.I32, dims);
  }

  /** The op refuses with BAD_INPUT, and the message has all these words. */
  static void refused(Runnable op, String... words) {
    assertThatThrownBy(op::run)
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BAD_INPUT))
        .hasMessageContainingAll(words);
  }

  /** As above, for index values, which a device sees later. */
  void refusedAtTheLatestWhenWaiting(Runnable op, String... words) {
    refused(
        () -> {
          op.run();
          backend.synchronize();
        },
        words);
  }

  @Test
  void memoryIsCountedAndZeroed() {
    try (Tensor a = backend.allocate(DType.F32, Shape.of(3, 5));
        Tensor b = backend.allocate(DType.BF16, Shape.of(7))) {
      assertThat(backend.memoryUse().bytes()).isEqualTo(60 + 14);
      assertThat(backend.memoryUse().tensors()).isEqualTo(2);
      assertThat(OpComparison.readFloats(backend, a)).containsOnly(0f);
      assertThat(b.type()).isEqualTo(DType.BF16);
      a.close();
      a.close();
      assertThat(backend.memoryUse().bytes()).isEqualTo(14);
    }
    assertThat(backend.memoryUse().bytes()).isZero();
    assertThat(backend.memoryUse().peakBytes()).isEqualTo(74);
    assertThat(backend.memoryUse().limitBytes()).isEqualTo(1L << 30);
  }

  @Test
  void moreThanTheLimitIsExhausted() {
    try (TrainingBackend small = open(100)) {
      assertThatThrownBy(() -> small.allocate(DType.F32, Shape.of(26)))
          .isInstanceOfSatisfying(
              MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.EXHAUSTED))
          .hasMessageContainingAll("F32[26]", "104 bytes", "0 of 100 bytes");
      small.allocate(DType.F32, Shape.of(25)).close();
    }
  }

  @Test
  void closingWithOpenTensorsSaysWhatLeaked() {
    TrainingBackend leaky = open(1 << 20);
    Tensor leaked = leaky.allocate(DType.F32, Shape.of(16));
    leaky.allocate(DType.I32, Shape.of(2));
    assertThatThrownBy(leaky::close)
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BUG))
        .hasMessageContainingAll(
            "2 tensors still open", "72 bytes", leaked.toString(), "MemoryContract.java");
  }

  @Test
  void viewsShareMemoryAndOwnNothing() {
    Tensor all = f32(4, 3);
    OpComparison.write(backend, all, new float[] {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
    try (Tensor middle = all.rows(1, 2)) {
      assertThat(middle.shape()).isEqualTo(Shape.of(2, 3));
      assertThat(OpComparison.readFloats(backend, middle)).containsExactly(3, 4, 5, 6, 7, 8);
      backend.scale(middle, 10);
    }
    try (Tensor flat = all.view(Shape.of(12))) {
      assertThat(OpComparison.readFloats(backend, flat.rows(2, 3))).containsExactly(2, 30, 40);
    }
    assertThat(OpComparison.readFloats(backend, all)).contains(80, 9);
    refused(() -> all.rows(3, 2), "[4, 3]");
    refused(() -> all.view(Shape.of(11)), "[4, 3]", "[11]");
  }

  @Test
  void buffersOfAnotherSizeAreRefused() {
    Tensor x = f32(4);
    refused(() -> backend.write(x, ByteBuffer.allocate(15)), "F32[4]", "16 bytes", "15");
    refused(() -> backend.read(ByteBuffer.allocate(20), x), "F32[4]", "16 bytes", "20");
  }

  @Test
  void copyConvertsAllSixteenBitValues() {
    for (DType narrow : new DType[] {DType.F16, DType.BF16}) {
      Tensor from = tensor(narrow, 1 << 16);
      Tensor wide = f32(1 << 16);
      Tensor back = tensor(narrow, 1 << 16);
      ByteBuffer bytes = ByteBuffer.allocate(1 << 17).order(ByteOrder.LITTLE_ENDIAN);
      for (int i = 0; i < 1 << 16; i++) {
        bytes.putShort((short) i);
      }
      backend.write(from, bytes.flip());
      backend.copy(wide, from);
      backend.copy(back, wide);
      float[] values = OpComparison.readFloats(backend, wide);
      ByteBuffer again = ByteBuffer.allocate(1 << 17).order(ByteOrder.LITTLE_ENDIAN);
      backend.read(again, back);
      for (int i = 0; i < 1 << 16; i++) {
        float expected = Narrow.of(narrow).widen((short) i);
        assertThat(Float.compare(values[i], expected)).as("%s %04x", narrow, i).isZero();
        short rounded = again.getShort(2 * i);
        if (Float.isNaN(expected)) {
          assertThat(Narrow.of(narrow).widen(rounded)).as("%s %04x", narrow, i).isNaN();
        } else {
          assertThat(rounded).as("%s %04x", narrow, i).isEqualTo((short) i);
        }
      }
    }
  }

  @Test
  void copyRoundsToNearestEven() {
    float[] values = new float[40_000];
    Random random = new Random(SEED);
    for (int i = 0; i < values.length; i++) {
      int bits = random.nextInt();
      if (i % 3 == 0) {
        // Exactly half way between two BF16 numbers.
        bits = bits & 0xFFFF0000 | 0x8000;
      } else if (i % 3 == 1) {
        // The same for F16.
        bits = bits & 0xFFFFE000 | 0x1000;
      }
      if (i % 2 == 0) {
        // Within the range of F16, its subnormal numbers among them.
        bits = bits & 0x87FFFFFF | (100 + random.nextInt(45)) << 23;
      }
      values[i] = Float.intBitsToFloat(bits);
    }
    Tensor wide = f32(values.length);
    OpComparison.write(backend, wide, values);
    for (DType narrow : new DType[] {DType.F16, DType.BF16}) {
      Tensor out = tensor(narrow, values.length);
      backend.copy(out, wide);
      ByteBuffer bytes = ByteBuffer.allocate(2 * values.length).order(ByteOrder.LITTLE_ENDIAN);
      backend.read(bytes, out);
      for (int i = 0; i < values.length; i++) {
        short expected = Narrow.of(narrow).nearest(values[i]);
        short got = bytes.getShort(2 * i);
        if (Float.isNaN(values[i])) {
          assertThat(Narrow.of(narrow).widen(got)).isNaN();
        } else {
          assertThat(got)
              .as("%s of %s, seed %d", narrow, Float.toHexString(values[i]), SEED)
              .isEqualTo(expected);
        }
      }
    }
  }

  @Test
  void copyRefusesOtherShapesAndIntegers() {
    refused(() -> backend.copy(f32(3), f32(4)), "copy", "[3]", "[4]");
    refused(() -> backend.copy(f32(3), i32(3)), "I32", "F32");
  }
}
