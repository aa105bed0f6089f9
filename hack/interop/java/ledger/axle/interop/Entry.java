package axle.interop;

import java.io.Serializable;
import java.util.List;

public class Entry implements Serializable {
    private static final long serialVersionUID = 1L;

    private String account;
    private List<Integer> amounts;
    private long total;

    public String getAccount() {
        return account;
    }

    public void setAccount(String account) {
        this.account = account;
    }

    public List<Integer> getAmounts() {
        return amounts;
    }

    public void setAmounts(List<Integer> amounts) {
        this.amounts = amounts;
    }

    public long getTotal() {
        return total;
    }

    public void setTotal(long total) {
        this.total = total;
    }
}
