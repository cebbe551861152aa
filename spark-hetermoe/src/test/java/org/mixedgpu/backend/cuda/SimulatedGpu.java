package org.mixedgpu.backend.cuda;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Event;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Tensor;

/**
 * A CPU backend whose threads have streams for {@link SimulatedNccl}: a thread's next op, and what
 * is done with its lane, waits for the messages that it has queued; queueing them waits for
 * nothing.
 */
public final class SimulatedGpu {
  /** Ops that are no work of a stream. */
  private static final List<String> IMMEDIATE =
      List.of(
          "name",
          "kind",
          "computeType",
          "allocate",
          "memoryUse",
          "close",
          "equals",
          "hashCode",
          "toString");

  private static final Map<Long, SimulatedGpu.Stream> STREAMS = new ConcurrentHashMap<>();
  private static final Map<Backend, SimulatedGpu> GPUS = new ConcurrentHashMap<>();
  private static final AtomicLong COUNT = new AtomicLong();

  private final ThreadLocal<Stream> streams = ThreadLocal.withInitial(Stream::new);
  private final AtomicInteger left = new AtomicInteger();

  private SimulatedGpu() {}

  private static final class Stream {
    final long id = COUNT.incrementAndGet();
    CompletableFuture<Void> last = CompletableFuture.completedFuture(null);

    Stream() {
      STREAMS.put(id, this);
    }

    synchronized CompletableFuture<Void> last() {
      return last;
    }

    synchronized CompletableFuture<Void> append(CompletableFuture<Void> kernel) {
      CompletableFuture<Void> before = last;
      last = kernel;
      return before;
    }
  }

  /** The same arithmetic; closing it closes the given one. */
  public static TrainingBackend over(TrainingBackend cpu) {
    SimulatedGpu gpu = new SimulatedGpu();
    TrainingBackend backend =
        (TrainingBackend)
            Proxy.newProxyInstance(
                SimulatedGpu.class.getClassLoader(),
                new Class<?>[] {TrainingBackend.class},
                (proxy, method, arguments) -> gpu.call(cpu, proxy, method, arguments));
    GPUS.put(backend, gpu);
    return backend;
  }

  private Object call(TrainingBackend cpu, Object proxy, Method method, Object[] arguments)
      throws Throwable {
    switch (method.getName()) {
      case "equals":
        return proxy == arguments[0];
      case "hashCode":
        return System.identityHashCode(proxy);
      case "lane", "urgentLane":
        return lane(cpu.lane((String) arguments[0]));
      case "close":
        GPUS.remove(proxy);
        break;
      default:
        if (!IMMEDIATE.contains(method.getName())) {
          streams.get().last().join();
        }
    }
    try {
      return method.invoke(cpu, arguments);
    } catch (InvocationTargetException e) {
      throw e.getCause();
    }
  }

  /** Work is done when its messages are. */
  private Lane lane(Lane inner) {
    return Intercepted.over(
        Lane.class,
        inner,
        (method, arguments, call) -> {
          if (method.equals("submit")) {
            Runnable work = (Runnable) arguments[0];
            arguments[0] =
                (Runnable)
                    () -> {
                      work.run();
                      streams.get().last().join();
                    };
          }
          return call.proceed();
        });
  }

  static SimulatedGpu of(Backend backend) {
    return GPUS.get(backend);
  }

  /** Multiprocessors that are left to groups now. */
  public static int left(Backend backend) {
    return of(backend).left.get();
  }

  /** Queues a kernel; returns what comes before it. */
  static CompletableFuture<Void> append(long stream, CompletableFuture<Void> kernel) {
    return STREAMS.get(stream).append(kernel);
  }

  NcclDevice nccl() {
    return new NcclDevice() {
      @Override
      public void makeCurrent() {}

      @Override
      public void leave(int multiprocessors) {
        left.addAndGet(multiprocessors);
      }

      @Override
      public Event queue(Tensor tensor, CudaBackend.ForeignWork work) {
        Stream stream = streams.get();
        CompletableFuture<Void> before = stream.last();
        work.queue(((HostTensor) tensor).address(), stream.id);
        return new Event() {
          @Override
          public void synchronize() {
            before.join();
          }

          @Override
          public boolean reached() {
            return before.isDone();
          }
        };
      }

      @Override
      public String toString() {
        return "a simulated GPU";
      }
    };
  }
}
