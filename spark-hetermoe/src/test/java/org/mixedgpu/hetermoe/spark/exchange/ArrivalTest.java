package org.mixedgpu.hetermoe.spark.exchange;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.HostMemory;
import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Shape;

class ArrivalTest {
  private static final Frame.Head HEAD =
      new Frame.Head(3, "dispatch", new int[] {1, -2}, DType.F32, 2, 3);

  private static ByteBuffer numbers(int first, int count) {
    ByteBuffer bytes = ByteBuffer.allocate(count);
    for (int i = 0; i < count; i++) {
      bytes.put((byte) (first + i));
    }
    return bytes.flip();
  }

  @Test
  void bytesFindTheirPlaceWhereverTheMessageIsCutAndWhereverItsReceiverComesOrGoes() {
    for (int cut = 0; cut <= 24; cut++) {
      for (int second = cut; second <= 24; second++) {
        try (HostMemory memory = new HostMemory("test", 1 << 20);
            HostTensor into = memory.allocate(DType.F32, Shape.of(4, 3))) {
          Arrival arrival = new Arrival(HEAD, null, ByteBuffer.allocate(24));
          arrival.take(numbers(0, cut));
          assertThat(arrival.enterTarget(into)).isNotNull();
          arrival.take(numbers(cut, second - cut));
          assertThat(arrival.buffer()).isNull();
          arrival.leaveTarget(ByteBuffer.allocate(24));
          arrival.take(numbers(second, 24 - second));
          arrival.complete();
          assertThat(arrival.buffer()).isEqualTo(numbers(0, 24));
        }
      }
    }
  }

  @Test
  void aMessageThatEndsInTheTensorLeavesTheRestOfItAlone() {
    try (HostMemory memory = new HostMemory("test", 1 << 20);
        HostTensor into = memory.allocate(DType.F32, Shape.of(4, 3))) {
      into.write(numbers(100, 48));
      Arrival arrival = new Arrival(HEAD, null, null);
      assertThat(arrival.enterTarget(into)).isNull();
      arrival.take(numbers(0, 7));
      arrival.take(numbers(7, 17));
      arrival.complete();
      assertThat(arrival.isComplete()).isTrue();
      ByteBuffer got = ByteBuffer.allocate(48);
      into.read(got);
      assertThat(got.flip().slice(0, 24)).isEqualTo(numbers(0, 24));
      assertThat(got.slice(24, 24)).isEqualTo(numbers(124, 24));
    }
  }

  @Test
  void theSocketWritesIntoTheTensorOnlyWhileItsReceiverWaits() {
    try (HostMemory memory = new HostMemory("test", 1 << 20);
        HostTensor into = memory.allocate(DType.F32, Shape.of(4, 3))) {
      Arrival arrival = new Arrival(HEAD, null, ByteBuffer.allocate(24));
      assertThat(arrival.next()).isNull();
      arrival.take(numbers(0, 5));
      arrival.enterTarget(into);
      ByteBuffer memoryOfTheTensor = arrival.next();
      assertThat(memoryOfTheTensor.remaining()).isEqualTo(19);
      assertThat(arrival.isReadInPlace()).isTrue();
      memoryOfTheTensor.put(numbers(5, 11));
      arrival.take(memoryOfTheTensor.flip());
      assertThat(arrival.isReadInPlace()).isFalse();
      assertThat(arrival.next().remaining()).isEqualTo(8);
      arrival.readEnded(); // nothing came
      arrival.leaveTarget(ByteBuffer.allocate(24));
      assertThat(arrival.next()).isNull();
      arrival.take(numbers(16, 8));
      arrival.complete();
      assertThat(arrival.buffer()).isEqualTo(numbers(0, 24));
      assertThat(arrival.bytesInPlace()).isEqualTo(11);
    }
  }

  @Test
  void headsKeepAllTheirFields() {
    Frame.Head copy = Frame.Head.decode(HEAD.encode());
    assertThat(copy).usingRecursiveComparison().isEqualTo(HEAD);
  }
}
