package axle.interop;

import java.util.concurrent.CompletableFuture;

/** What the protocol of Dubbo has besides calls. */
public interface Coins {
    /** Returns what has come in the attachment purse. What goes back in the attachment change is of it. */
    String purse();

    /** Answers after ms milliseconds and has no thread wait for that. */
    CompletableFuture<String> later(String text, int ms);

    /** Throws what the interface does not declare. */
    String unchecked(String text);

    /** Throws what Dubbo itself throws. */
    String refuse(String text);

    int length(String text);
}
