package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.backend.Event;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.backend.Stamp;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.base.LiveThreads;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;

/** Whatever fails, wherever: all members fail soon, name the first cause and leave nothing. */
@Timeout(60)
class ZebraFaultTest {
  private static final int SEQUENCE = 8;
  private static final int STEPS = 6;

  /** Every so many allocations one is tried; coprime to the allocations of a layer. */
  private static final int STRIDE = 23;

  @AfterEach
  void noLaneIsLeft() throws Exception {
    LiveThreads.assertNoneSoon("(attention|expert)-\\d+-.*");
  }

  /** The named op of one rank throws at its n-th call; ops are called on all lanes. */
  private static final class FailingOp implements ZebraGang.Fault {
    private final int rank;
    private final String op;
    private final int call;
    private final Throwable failure;
    final AtomicInteger calls = new AtomicInteger();
    volatile String thread = "";

    FailingOp(int rank, String op, int call, Throwable failure) {
      this.rank = rank;
      this.op = op;
      this.call = call;
      this.failure = failure;
    }

    @Override
    public TrainingBackend backend(int of, TrainingBackend backend) {
      if (of != rank) {
        return backend;
      }
      return Intercepted.over(
          TrainingBackend.class,
          backend,
          (method, arguments, inner) -> {
            if (method.equals(op) && calls.incrementAndGet() == call) {
              thread = Thread.currentThread().getName();
              throw failure;
            }
            return inner.proceed();
          });
    }
  }

  @ParameterizedTest
  @CsvSource({
    // rank, op, call, lane that fails
    "0, attention, 20, attention-0-compute",
    "1, attentionBackward, 7, attention-1-compute",
    "1, adamW, 30, ",
    "2, groupedMatmul, 60, expert-2-compute",
    "2, groupedMatmulWeightGradient, 1, expert-2-compute",
    "3, read, 20, expert-3-combine",
    "3, write, 40, ",
    "2, sumSquares, 8, ",
    "2, lane, 1, ",
    "0, urgentLane, 2, ",
    "3, allocate, 30, ",
    "0, allocate, 80, "
  })
  void anOpThatThrowsStopsAllMembersWithItsMessage(int rank, String op, int call, String lane)
      throws Exception {
    FailingOp fault =
        new FailingOp(rank, op, call, new MixedGpuException(Fault.EXHAUSTED, "injected in " + op));
    long start = System.nanoTime();
    List<ZebraGang.Outcome> outcomes = run(fault);
    assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(15));
    assertThat(fault.calls.get()).isGreaterThanOrEqualTo(call);
    if (lane != null) {
      assertThat(fault.thread).isEqualTo(lane);
    }
    assertAllName(outcomes, rank, "injected in " + op);
    assertThat(((MixedGpuException) outcomes.get(rank).failure()).fault())
        .isEqualTo(Fault.EXHAUSTED);
  }

  /** A rank's device fails before step 3; then no event can be asked, and a stamp says so too. */
  private static final class BrokenDevice implements ZebraGang.Fault {
    private final int rank;
    private final AtomicInteger given = new AtomicInteger();
    private volatile boolean broken;

    BrokenDevice(int rank) {
      this.rank = rank;
    }

    @Override
    public TrainingBackend backend(int of, TrainingBackend backend) {
      return of == rank ? fragile(TrainingBackend.class, backend) : backend;
    }

    private <T> T fragile(Class<T> type, T of) {
      return Intercepted.over(
          type,
          of,
          (method, arguments, call) -> {
            if (broken && method.equals("reached")) {
              throw new MixedGpuException(Fault.MISSING, "no event can be asked");
            }
            Object result = call.proceed();
            return switch (method) {
              case "lane", "urgentLane" -> fragile(Lane.class, (Lane) result);
              case "record" -> fragile(Event.class, (Event) result);
              case "stamp" -> new FragileStamp((Stamp) result);
              default -> result;
            };
          });
    }

    private final class FragileStamp implements Stamp {
      private final Stamp inner;

      FragileStamp(Stamp inner) {
        this.inner = inner;
      }

      @Override
      public long nanosSince(Stamp earlier) {
        return inner.nanosSince(((FragileStamp) earlier).inner);
      }

      /** One span is open then, and both its stamps are counted as given back. */
      @Override
      public void close() {
        if (broken && given.incrementAndGet() == 2) {
          throw new MixedGpuException(Fault.MISSING, "a stamp can't be given back");
        }
      }
    }

    @Override
    public void beforeStep(int of, long step) {
      if (of == rank && step == 3) {
        broken = true;
        throw new MixedGpuException(Fault.MISSING, "the device is broken");
      }
    }
  }

  @Test
  void whicheverAllocationFailsNothingIsLeftOpen() throws Exception {
    int failed = 0;
    for (int rank : new int[] {0, 2}) {
      for (int call = 1; ; call += STRIDE) {
        FailingOp fault =
            new FailingOp(
                rank, "allocate", call, new MixedGpuException(Fault.EXHAUSTED, "injected"));
        // Closing the backends throws if a tensor is open.
        List<ZebraGang.Outcome> outcomes = run(fault);
        if (fault.calls.get() < call) {
          break;
        }
        assertAllName(outcomes, rank, "injected");
        failed++;
      }
    }
    assertThat(failed).isGreaterThan(15);
  }

  /** As after an illegal address on a GPU: from then on everything fails, the cleanup too. */
  @Test
  void whatFailsInTheCleanupDoesNotHideTheCause() throws Exception {
    BrokenDevice fault = new BrokenDevice(2);
    List<ZebraGang.Outcome> outcomes = run(fault);
    assertAllName(outcomes, 2, "the device is broken");
    Throwable failure = outcomes.get(2).failure();
    assertThat(failure).hasMessageStartingWith("Training rank 2 failed in ");
    assertThat(failure.getSuppressed())
        .singleElement()
        .satisfies(e -> assertThat(e).hasMessage("a stamp can't be given back"));
  }

  @Test
  void anErrorIsAFailureToo() throws Exception {
    FailingOp fault = new FailingOp(2, "swiglu", 9, new OutOfMemoryError("injected"));
    assertAllName(run(fault), 2, "OutOfMemoryError: injected");
  }

  @Test
  void aPeerThatDiesWithoutAWordAtStepThreeIsNamed() throws Exception {
    Mute fault = new Mute(true, ZebraGang.LIMITS);
    List<ZebraGang.Outcome> outcomes = run(fault);
    assertThat(fault.died.get()).isEqualTo(3);
    assertThat(outcomes.get(2).failure()).hasMessageContaining("died");
    for (int rank : new int[] {0, 1, 3}) {
      assertThat(outcomes.get(rank).failure())
          .isInstanceOfSatisfying(
              MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.MISSING))
          .hasMessageContaining("rank 2 has closed");
    }
  }

  /** On a device, what was on its way when a peer was lost is garbage, and ops may refuse it. */
  @Test
  void aFailureAfterALossIsTheEchoOfTheLoss() throws Exception {
    AtomicInteger fired = new AtomicInteger();
    List<ZebraGang.Outcome> outcomes =
        run(
            new ZebraGang.Fault() {
              private final List<Consumer<String>> listeners = new CopyOnWriteArrayList<>();

              @Override
              public Exchange exchange(int rank, Exchange of) {
                return rank == 0 ? listening(of, listeners) : of;
              }

              @Override
              public void beforeStep(int rank, long step) {
                if (rank == 0 && step == 3) {
                  listeners.forEach(listener -> listener.accept("rank 2 has ended without a word"));
                  fired.incrementAndGet();
                  throw new MixedGpuException(Fault.BAD_INPUT, "Index 99 of garbage");
                }
              }
            });
    assertThat(fired).hasValue(1);
    for (ZebraGang.Outcome outcome : outcomes) {
      assertThat(outcome.failure())
          .isInstanceOfSatisfying(
              MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.MISSING))
          .hasMessageContaining("ank 0 stopped: rank 2 has ended without a word");
    }
  }

  @SuppressWarnings("unchecked")
  private static Exchange listening(Exchange of, List<Consumer<String>> listeners) {
    return Intercepted.over(
        Exchange.class,
        of,
        (method, arguments, call) -> {
          if (method.equals("whenBroken")) {
            listeners.add((Consumer<String>) arguments[0]);
            return null;
          }
          return call.proceed();
        });
  }

  @Test
  void anInterruptedMemberStopsAll() throws Exception {
    List<ZebraGang.Outcome> outcomes =
        run(
            new ZebraGang.Fault() {
              @Override
              public void beforeStep(int rank, long step) {
                if (rank == 1 && step == 3) {
                  Thread.currentThread().interrupt();
                }
              }
            });
    assertAllName(outcomes, 1, "Interrupted");
  }

  @Test
  void aPeerThatHangsIsGivenUpAfterTheTimeLimit() throws Exception {
    Mute fault = new Mute(false, new ExchangeLimits(1 << 20, Duration.ofMillis(800)));
    List<ZebraGang.Outcome> outcomes = run(fault);
    assertThat(fault.died.get()).isEqualTo(3);
    for (int rank : new int[] {0, 1, 3}) {
      assertThat(outcomes.get(rank).failure()).hasMessageContaining("800 ms");
    }
  }

  @Test
  void loadingAndSavingMayTakeLongerThanAnyMessage() throws Exception {
    AtomicInteger slow = new AtomicInteger();
    ModelParts random = ModelParts.random(ZebraGang.SEED);
    ModelParts uneven =
        new ModelParts() {
          @Override
          public void load(Parameters part) {
            if (part.entries().iterator().next().name().contains("embed")) {
              pause();
            }
            random.load(part);
          }

          @Override
          public void save(int rank, Parameters part) {
            if (rank == 3) {
              pause();
            }
          }

          private void pause() {
            try {
              Thread.sleep(3000);
            } catch (InterruptedException e) {
              throw new AssertionError(e);
            }
            slow.incrementAndGet();
          }
        };
    List<ZebraGang.Outcome> outcomes =
        run(
            uneven,
            new ZebraGang.Fault() {
              @Override
              public ExchangeLimits limits() {
                return new ExchangeLimits(1 << 20, Duration.ofMillis(2000));
              }
            });
    ZebraGang.succeeded(outcomes);
    assertThat(slow).hasValue(3);
  }

  /** Rank 2 stops before step 3 and can't tell anybody; its connections close, or not even that. */
  private static final class Mute implements ZebraGang.Fault {
    private final boolean closes;
    private final ExchangeLimits limits;
    final AtomicLong died = new AtomicLong();
    private Exchange exchange;

    Mute(boolean closes, ExchangeLimits limits) {
      this.closes = closes;
      this.limits = limits;
    }

    @Override
    public ExchangeLimits limits() {
      return limits;
    }

    @Override
    public Exchange exchange(int rank, Exchange of) {
      if (rank != 2) {
        return of;
      }
      exchange = of;
      return Intercepted.over(
          Exchange.class,
          of,
          (method, arguments, call) ->
              Set.of("abort", "whenBroken", "close").contains(method) ? null : call.proceed());
    }

    @Override
    public void beforeStep(int rank, long step) {
      if (rank == 2 && step == 3) {
        died.set(step);
        if (closes) {
          exchange.close();
        }
        throw new IllegalStateException("died");
      }
    }
  }

  private static List<ZebraGang.Outcome> run(ZebraGang.Fault fault) throws Exception {
    return run(ModelParts.random(ZebraGang.SEED), fault);
  }

  private static List<ZebraGang.Outcome> run(ModelParts parts, ZebraGang.Fault fault)
      throws Exception {
    ModelConfig model = ZebraModels.qwen2Moe(0.01f);
    TrainingPlan plan = TrainingPlan.even(ZebraJob.expertsByLayer(model), 2, 2, 2, 4, SEQUENCE);
    OptimizerConfig optimizer = OptimizerConfig.standard(LearningRate.constant(1e-3));
    ZebraJob job = new ZebraJob(model, plan, optimizer, AuxLoss.Kind.PER_LAYER, STEPS, false);
    return ZebraGang.run(job, ZebraGang.tokens(SEQUENCE), parts, fault);
  }

  private static void assertAllName(List<ZebraGang.Outcome> outcomes, int rank, String cause) {
    for (ZebraGang.Outcome outcome : outcomes) {
      assertThat(outcome.failure())
          .isInstanceOf(MixedGpuException.class)
          .hasMessageContaining("rank " + rank + " failed in ")
          .hasMessageContaining(cause);
    }
  }
}
