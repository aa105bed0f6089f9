package axle.interop;

import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.dubbo.common.stream.StreamObserver;

/** One stream, as its client has it. */
public class Conversation {
    private final Heard<String> heard = new Heard<>();
    private final StreamObserver<String> texts;

    public Conversation(Talk talk) {
        texts = talk.echo(heard);
    }

    /** Says a text and waits for it to come back. */
    public boolean said(String text) throws Exception {
        texts.onNext(text);
        return text.equals(heard.next());
    }

    /** A short one: a few texts, and an end on both sides. */
    public boolean ends() throws Exception {
        boolean ok = said("first") && said("second " + "long ".repeat(20_000));
        texts.onCompleted();
        return ok && heard.next() == Heard.END;
    }

    /** A stream that only the server sends. */
    public static boolean counted(Talk talk, int n) throws Exception {
        Heard<Integer> heard = new Heard<>();
        talk.count(n, heard);
        for (int i = 0; i < n; i++) {
            if (!Integer.valueOf(i).equals(heard.next())) {
                return false;
            }
        }
        return heard.next() == Heard.END;
    }

    /** What came, in order; the end is END and an error itself. */
    private static final class Heard<T> implements StreamObserver<T> {
        static final Object END = new Object();
        private final BlockingQueue<Object> all = new LinkedBlockingQueue<>();

        @Override
        public void onNext(T value) {
            all.add(value);
        }

        @Override
        public void onError(Throwable e) {
            all.add(e);
        }

        @Override
        public void onCompleted() {
            all.add(END);
        }

        Object next() throws Exception {
            Object next = all.poll(20, TimeUnit.SECONDS);
            if (next instanceof Throwable) {
                throw new IllegalStateException("the stream broke", (Throwable) next);
            }
            return next;
        }
    }
}
