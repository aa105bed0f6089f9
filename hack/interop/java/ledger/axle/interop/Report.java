package axle.interop;

import java.io.IOException;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;

/** What a client has done so far: it is told in lines on standard output. */
public class Report {
    /** Between two calls of a kind, in milliseconds. */
    private static final int PAUSE = Integer.getInteger("interop.pause", 20);

    private final Map<String, Integer> done = new TreeMap<>();
    private int failed;
    private volatile boolean stopping;

    /** A call that says whether its answer was right. */
    public interface Call {
        boolean ok() throws Exception;
    }

    /** Says a word and waits for the end of standard input. */
    public static void untilStopped(String word) throws IOException {
        System.out.println(word);
        while (System.in.read() >= 0) {
            // nothing is expected
        }
    }

    /**
     * Asks until the answer is what it has to be twice in a row, for ten seconds at most: the last one-way calls may be under way,
     * or in another thread of the server, when everything else is answered.
     */
    public static boolean stays(int wanted, Callable<Integer> ask) throws Exception {
        int got = -1;
        int times = 0;
        for (int i = 0; i < 100 && times < 2; i++) {
            got = ask.call();
            times = got == wanted ? times + 1 : 0;
            pause(100);
        }
        if (times < 2) {
            throw new IllegalStateException("it is " + got + ", not " + wanted);
        }
        return true;
    }

    /** Does one call, which has to succeed. */
    public void count(String kind, Call call) {
        String why = "it answers something else";
        try {
            if (call.ok()) {
                why = null;
            }
        } catch (Throwable e) {
            e.printStackTrace();
            why = e.toString();
        }
        synchronized (this) {
            if (why == null) {
                done.merge(kind, 1, Integer::sum);
            } else {
                failed++;
                System.out.println("failed " + kind + ": " + why.replace('\n', ' '));
            }
        }
    }

    /** Starts a thread that does calls, with a short pause behind each, until the end. */
    public Thread keep(String kind, Call call) {
        Thread t = new Thread(() -> {
            while (!stopping) {
                count(kind, call);
                pause(PAUSE);
            }
        }, kind);
        t.start();
        return t;
    }

    /** Reports until standard input ends, then waits for the threads. */
    public void untilStopped(Thread... threads) throws Exception {
        Thread printer = new Thread(() -> {
            while (!stopping) {
                print("so far");
                pause(50);
            }
        }, "report");
        printer.start();
        untilStopped("calling");
        stopping = true;
        printer.join();
        for (Thread t : threads) {
            t.join();
        }
    }

    private static void pause(int ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            throw new IllegalStateException("nobody interrupts", e);
        }
    }

    /** Prints one line: a word, how much failed, and each kind with how often it was done. */
    public synchronized void print(String word) {
        StringBuilder line = new StringBuilder(word).append(": failed=").append(failed);
        done.forEach((kind, n) -> line.append(' ').append(kind).append('=').append(n));
        System.out.println(line);
    }
}
