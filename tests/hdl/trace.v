// The words of one synapse of the rule's fixed-point form (docs/rule.md): traces x_i, x_j, x_s and the hidden weight.

// One trace: 0 .. 2^T. A step takes (x m + q) >> s away, a spike adds (A (2^T - x) + 2^(T-1)) >> T.
module trace #(parameter T = 30) (
    input  wire        clk,
    input  wire        load,
    input  wire [T:0]  load_x,
    input  wire        step,
    input  wire [31:0] g,          // the step's dither before it is brought to s bits
    input  wire        spike,
    input  wire [30:0] m,
    input  wire [5:0]  s,
    input  wire [T:0]  a,
    output reg  [T:0]  x,
    output wire [T:0]  jumped      // the trace after a spike, if one comes now
);
    // Range claimed by the page: m <= 2^s and q < 2^s <= 2^62, so the sum fits 63 bits.
    wire [62:0] q = s >= 6'd32 ? {31'd0, g} << (s - 6'd32) : {31'd0, g} >> (6'd32 - s);
    wire [62:0] fall = ({{(62 - T){1'b0}}, x} * {32'd0, m} + q) >> s;
    wire [T:0] room = {1'b1, {T{1'b0}}} - x;
    wire [2*T+1:0] rise = ({{(T + 1){1'b0}}, a} * {{(T + 1){1'b0}}, room} + ({{(2 * T + 1){1'b0}}, 1'b1} << (T - 1))) >> T;
    assign jumped = x + rise[T:0];

    always @(posedge clk) begin
        if (load) x <= load_x;
        else if (step) x <= x - fall[T:0];
        else if (spike) x <= jumped;
    end
endmodule

// Drift in whole units by a phase accumulator: C(n) - C(n-1) is the whole part of U / 2^32 and the carry of its fraction.
module drift #(parameter W = 30) (
    input  wire          clk,
    input  wire          load,
    input  wire [31:0]   load_phase,  // n U mod 2^32
    input  wire          step,
    input  wire [W+32:0] slope,
    output wire [W+1:0]  units
);
    reg  [31:0] phase;
    wire [32:0] sum = {1'b0, phase} + {1'b0, slope[31:0]};
    assign units = {1'b0, slope[W+32:32]} + {{(W + 1){1'b0}}, sum[32]};

    always @(posedge clk) begin
        if (load) phase <= load_phase;
        else if (step) phase <= sum[31:0];
    end
endmodule

module synapse #(parameter T = 30, parameter W = 30) (
    input  wire          clk,
    input  wire          load,
    input  wire [T:0]    load_i,
    input  wire [T:0]    load_j,
    input  wire [T:0]    load_s,
    input  wire [W:0]    load_w,
    input  wire [31:0]   load_g,
    input  wire [31:0]   load_up,
    input  wire [31:0]   load_down,
    input  wire [30:0]   m_i, m_j, m_s,
    input  wire [5:0]    s_i, s_j, s_s,
    input  wire [T:0]    a_i, a_j, a_s,
    input  wire [T:0]    theta_i, theta_j, theta_lo, theta_hi,
    input  wire [W:0]    theta_w,
    input  wire [W+2:0]  c_p, d_1, d_2,     // d_1, d_2: -c_d1, -c_d2; up to 4
    input  wire [W+32:0] up, down,
    input  wire          stop_learning,
    input  wire          gate_silent_pre,
    input  wire          step,
    input  wire          pre,
    input  wire          post,
    input  wire          learn,
    output wire [T:0]    x_i,
    output wire [T:0]    x_j,
    output wire [T:0]    x_s,
    output reg  [W:0]    w
);
    localparam [31:0] GOLDEN = 32'd2654435769;
    localparam signed [W+4:0] TOP = {4'd0, 1'b1, {W{1'b0}}};
    reg  [31:0] g;                          // n 2654435769 mod 2^32 of the step that has passed
    wire [31:0] g_next = g + GOLDEN;
    wire [T:0] after_i, after_j, after_s;
    wire [W+1:0] units_up, units_down;

    trace #(T) t_i (clk, load, load_i, step, g_next, pre, m_i, s_i, a_i, x_i, after_i);
    trace #(T) t_j (clk, load, load_j, step, g_next, post, m_j, s_j, a_j, x_j, after_j);
    trace #(T) t_s (clk, load, load_s, step, g_next, post && stop_learning, m_s, s_s, a_s, x_s, after_s);
    drift #(W) rising (clk, load, load_up, step, up, units_up);
    drift #(W) falling (clk, load, load_down, step, down, units_down);

    // rho is read after the post spike's own jump of x_s.
    wire [T:0] slow = post ? after_s : x_s;
    wire open = learn && (!stop_learning || (slow > theta_lo && slow < theta_hi));
    wire [T+W+3:0] scaled = ({{(T + 1){1'b0}}, c_p} * {{(W + 3){1'b0}}, x_i} + ({{(T + W + 3){1'b0}}, 1'b1} << (T - 1))) >> T;
    wire low = x_i < theta_i && (!gate_silent_pre || x_i > 0);

    wire signed [W+4:0] now = $signed({4'd0, w});
    wire signed [W+4:0] drifted = w > theta_w ? now + $signed({3'd0, units_up}) : now - $signed({3'd0, units_down});
    wire signed [W+4:0] depressed = open && x_j > theta_j ? now - $signed({2'd0, d_1}) : now;
    wire signed [W+4:0] potentiated = open ? now + $signed({2'd0, scaled[W+2:0]}) - (low ? $signed({2'd0, d_2}) : 0) : now;
    wire signed [W+4:0] chosen = step ? drifted : pre ? depressed : potentiated;
    wire [W:0] clipped = chosen < 0 ? {(W + 1){1'b0}} : chosen > TOP ? TOP[W:0] : chosen[W:0];

    always @(posedge clk) begin
        if (load) begin
            w <= load_w;
            g <= load_g;
        end else if (step || pre || post) begin
            w <= clipped;
            if (step) g <= g_next;
        end
    end
endmodule
